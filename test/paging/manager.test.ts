import { describe, expect, test } from 'vitest';
import { PageflashError } from '../../src/core/errors.js';
import { PageManager } from '../../src/paging/pageManager.js';
import type { PageManagerOptions } from '../../src/paging/pageStore.js';
import type { PageCopy } from '../../src/paging/pool/pagePool.js';
import type { PageEvent } from '../../src/paging/prefix/pageEvents.js';
import { fuzzManager } from './fuzz/fuzzPaging.js';
import { computeAll, addComputed, pagesOf, tokensOf } from './computedSequences.js';

const managerOf = (options: Partial<PageManagerOptions> = {}) =>
  new PageManager({ nPages: 16, pageSize: 4, ...options });

describe('whatever an engine does', () => {
  test('each token is where its table says, and the invariants hold', { timeout: 60_000 }, () => {
    expect(fuzzManager({ nRuns: 200, seed: 1 })).toBeGreaterThan(3000);
  });
});

describe('a step', () => {
  test('is reserved, computed and committed', () => {
    const manager = managerOf();
    const chat = manager.add(tokensOf(10));
    expect(manager.nToCompute(chat)).toBe(10);
    expect(manager.reserve(chat, 6)).toEqual([]);
    const batch = manager.batch([chat]);
    expect([...batch.cacheSeqlens, ...batch.cuSeqlensQ, ...batch.slotMapping]).toEqual([
      0, 0, 6, 0, 1, 2, 3, 4, 5,
    ]);
    manager.commit(chat);
    manager.reserve(chat, 100);
    expect(manager.sequence(chat)).toMatchObject({ nTokens: 10, nComputed: 6, nInFlight: 4, nPages: 3 });
    manager.commit(chat);
    manager.append(chat, [7]);
    expect(manager.sequence(chat)).toMatchObject({ nTokens: 11, nComputed: 10, nInFlight: 0 });
    expect(manager.sequence(chat).token(10)).toBe(7);
  });

  test('that was speculated loses what was rejected', () => {
    const manager = managerOf();
    const chat = addComputed(manager, tokensOf(7));
    manager.append(chat, [90, 91, 92, 93]);
    manager.reserve(chat, 4);
    expect(manager.sequence(chat).nPages).toBe(3);
    manager.commit(chat, 3);
    expect(manager.sequence(chat)).toMatchObject({ nTokens: 8, nComputed: 8, nPages: 2 });
  });
});

describe('what was computed is found', () => {
  test.each([
    { nShared: 12, nTokens: 13, nHit: 12, why: 'every full page' },
    { nShared: 11, nTokens: 13, nHit: 8, why: 'no page that is not full' },
    { nShared: 13, nTokens: 13, nHit: 12, why: 'all of it, but for the page with the last token' },
    { nShared: 12, nTokens: 12, nHit: 8, why: 'a full-prompt hit leaves a token to compute' },
    { nShared: 4, nTokens: 4, nHit: 0, why: 'a full-prompt hit of one page leaves it to compute' },
    { nShared: 3, nTokens: 13, nHit: 0, why: 'nothing, where nothing is equal' },
  ])('$nShared of $nTokens tokens in common, $nHit found: $why', ({ nShared, nTokens, nHit }) => {
    const manager = managerOf();
    const first = addComputed(manager, tokensOf(13));
    const prompt = [...tokensOf(nShared), ...tokensOf(nTokens - nShared, 1)];
    const second = manager.add(prompt);
    expect(manager.nToCompute(second)).toBe(nTokens - nHit);
    manager.reserve(second, nTokens);
    expect(manager.sequence(second).nComputed).toBe(nHit);
    expect(pagesOf(manager, second).slice(0, nHit / 4)).toEqual(pagesOf(manager, first).slice(0, nHit / 4));
  });

  test('after its sequence has ended, until its pages are reused', () => {
    const manager = managerOf({ nPages: 4 });
    manager.release(addComputed(manager, tokensOf(8)));
    expect(manager.nFreePages).toBe(4);
    expect(manager.nToCompute(manager.add(tokensOf(9)))).toBe(1);
    manager.release(addComputed(manager, tokensOf(12, 1)));
    expect(manager.nToCompute(manager.add(tokensOf(9)))).toBe(5);
  });

  test('not before it is written', () => {
    const manager = managerOf();
    const first = manager.add(tokensOf(9));
    manager.reserve(first, 9);
    const second = manager.add(tokensOf(9));
    expect(manager.nToCompute(second)).toBe(9);
    manager.commit(first);
    expect(manager.nToCompute(second)).toBe(1);
  });

  test('not under another salt, not by or from private sequences, not without caching', () => {
    const manager = managerOf();
    addComputed(manager, tokensOf(9));
    expect(manager.nToCompute(manager.add(tokensOf(9), { salt: 1 }))).toBe(9);
    expect(manager.nToCompute(manager.add(tokensOf(9), { isPrivate: true }))).toBe(9);
    const secret = manager.add(tokensOf(9, 1), { isPrivate: true });
    computeAll(manager, secret);
    expect(manager.nToCompute(manager.add(tokensOf(9, 1)))).toBe(9);
    const uncached = managerOf({ isCaching: false });
    addComputed(uncached, tokensOf(9));
    expect(uncached.nToCompute(uncached.add(tokensOf(9)))).toBe(9);
  });

  test('not where a page was reused: no stale hash', () => {
    const manager = managerOf({ nPages: 2 });
    manager.release(addComputed(manager, tokensOf(8)));
    manager.release(addComputed(manager, tokensOf(8, 1)));
    expect(manager.nToCompute(manager.add(tokensOf(8)))).toBe(8);
    expect(manager.nToCompute(manager.add(tokensOf(8, 1)))).toBe(4);
  });

  test('by a prompt that was changed after the last search', () => {
    const manager = managerOf();
    addComputed(manager, tokensOf(9));
    const prompt = manager.add(tokensOf(9));
    expect(manager.nToCompute(prompt)).toBe(1);
    manager.truncate(prompt, 4);
    manager.append(prompt, tokensOf(5, 1));
    expect(manager.nToCompute(prompt)).toBe(5);
  });

  test('and two who compute the same at once end up with the same pages', () => {
    const manager = managerOf();
    const [first, second] = [manager.add(tokensOf(9)), manager.add(tokensOf(9))];
    manager.reserve(first, 9);
    manager.reserve(second, 9);
    expect(manager.nFreePages).toBe(10);
    manager.commit(first);
    manager.commit(second);
    expect(manager.nFreePages).toBe(12);
    expect(pagesOf(manager, second).slice(0, 2)).toEqual(pagesOf(manager, first).slice(0, 2));
  });
});

describe('pages are reused', () => {
  test('empty ones first, then those used longest ago, and of one sequence the deepest', () => {
    const manager = managerOf({ nPages: 6 });
    const first = addComputed(manager, tokensOf(8));
    const second = addComputed(manager, tokensOf(9, 1));
    const [pagesOfFirst, pagesOfSecond] = [pagesOf(manager, first), pagesOf(manager, second)];
    manager.release(first);
    manager.release(second);
    expect(manager.snapshot().free).toEqual([
      pagesOfSecond[2],
      5,
      ...pagesOfFirst.toReversed(),
      pagesOfSecond[1],
      pagesOfSecond[0],
    ]);
    manager.release(addComputed(manager, tokensOf(8)));
    expect(manager.snapshot().free.slice(-2)).toEqual(pagesOfFirst.toReversed());
  });

  test('those before a window with the sequence that has used them, and after it', () => {
    const manager = managerOf({ window: 4 });
    const first = addComputed(manager, tokensOf(16));
    addComputed(manager, tokensOf(4, 1));
    expect(pagesOf(manager, first).slice(0, 3)).toEqual([-1, -1, -1]);
    const { published } = manager.snapshot();
    manager.release(addComputed(manager, tokensOf(8, 2)));
    manager.release(first);
    const parents = new Map(published.map(({ page, parent }) => [page, parent]));
    const last = manager.snapshot().free.slice(-4);
    for (let i = 0; i < 3; i++) expect(parents.get(last[i]!)).toBe(last[i + 1]);
    expect(manager.nToCompute(manager.add(tokensOf(17)))).toBe(1);
  });

  test('one that was copied, and not changed, before those that lead to it', () => {
    const manager = managerOf({ window: 0 });
    const chat = addComputed(manager, tokensOf(8));
    const [, copied] = pagesOf(manager, chat);
    const before = manager.snapshot().published.find(({ parent }) => parent === -1)!;
    manager.truncate(chat, 6);
    manager.append(chat, [99]);
    computeAll(manager, chat);
    expect(manager.snapshot().free.slice(-2)).toEqual([copied, before.page]);
  });

  test('never those pinned', () => {
    const manager = managerOf({ nPages: 4 });
    const system = addComputed(manager, tokensOf(9));
    const pin = manager.pin(system);
    manager.release(system);
    expect(manager.nFreePages).toBe(2);
    manager.release(addComputed(manager, tokensOf(8, 1)));
    expect(manager.nToCompute(manager.add(tokensOf(9)))).toBe(1);
    manager.unpin(pin);
    expect(manager.nFreePages).toBe(4);
  });
});

describe('fork', () => {
  test('samples in parallel from one prompt', () => {
    const manager = managerOf();
    const parent = addComputed(manager, tokensOf(6));
    const children = [1, 2, 3].map(() => manager.fork(parent));
    manager.append(parent, [50]);
    children.forEach((child, i) => manager.append(child, [51 + i]));
    const copies = [parent, ...children].map((sequence) => manager.reserve(sequence, 1));
    expect(copies).toEqual([[[1, 2]], [[1, 3]], [[1, 4]], []]);
    expect(manager.usage()).toMatchObject({ nUsed: 5, nShared: 1 });
  });

  test('takes the first tokens only, if so wanted', () => {
    const manager = managerOf();
    const parent = addComputed(manager, tokensOf(10));
    const child = manager.fork(parent, 5);
    expect(manager.sequence(child)).toMatchObject({ nTokens: 5, nComputed: 5, nPages: 2 });
    manager.append(child, [99]);
    expect(manager.reserve(child, 1)).toEqual([[1, 3]]);
  });
});

describe('truncate', () => {
  test('into a published page: it is kept, and a copy is written', () => {
    const manager = managerOf();
    const chat = addComputed(manager, tokensOf(8));
    manager.truncate(chat, 6);
    manager.append(chat, [99]);
    expect(manager.reserve(chat, 1)).toEqual([[1, 2]]);
    manager.commit(chat);
    expect(manager.nToCompute(manager.add(tokensOf(9)))).toBe(1);
  });

  test('a page that is being copied is given to nobody', () => {
    const manager = managerOf({ nPages: 3 });
    const chat = addComputed(manager, tokensOf(8));
    manager.truncate(chat, 6);
    manager.append(chat, [99]);
    expect(manager.reserve(chat, 1)).toEqual([[1, 2]]);
    expect(manager.reserve(manager.add([1]), 1)).toBe('full');
    manager.commit(chat);
    expect(manager.nFreePages).toBe(1);
  });

  test('a page that is being copied is given back with the sequence, if that ends first', () => {
    const manager = managerOf();
    const chat = addComputed(manager, tokensOf(8));
    manager.truncate(chat, 6);
    manager.append(chat, [99]);
    manager.reserve(chat);
    manager.release(chat);
    expect(manager.nFreePages).toBe(16);
  });

  test('behind the window: all is computed again', () => {
    const manager = managerOf({ window: 5 });
    const chat = addComputed(manager, tokensOf(20));
    manager.truncate(chat, 18);
    expect(manager.sequence(chat).nComputed).toBe(18);
    manager.truncate(chat, 10);
    expect(manager.sequence(chat)).toMatchObject({ nTokens: 10, nComputed: 0, nPages: 0 });
  });
});

describe('a window', () => {
  test('takes back pages, and the table shows them no more', () => {
    const manager = managerOf({ window: 5, isCaching: false });
    const chat = addComputed(manager, tokensOf(9));
    manager.append(chat, [1]);
    manager.reserve(chat, 1);
    // Token 9 sees tokens 4 to 9.
    expect([...manager.batch([chat]).blockTable]).toEqual([-1, 1, 2, -1]);
    expect(manager.snapshot().counts.slice(0, 4)).toEqual([0, 1, 1, 0]);
  });

  test('lets a sequence be longer than the pool', () => {
    const manager = managerOf({ nPages: 4, window: 4 });
    const chat = manager.add(tokensOf(100));
    for (let i = 0; i < 100; i += 5) {
      expect(manager.reserve(chat, 5)).toEqual([]);
      manager.commit(chat);
    }
    expect(manager.sequence(chat).nComputed).toBe(100);
  });

  test('a hit needs the pages that are seen, and holds no others', () => {
    const manager = managerOf({ window: 4 });
    manager.release(addComputed(manager, tokensOf(16)));
    const chat = manager.add(tokensOf(17));
    expect(manager.nMissing(chat, 1)).toBe(2);
    manager.reserve(chat, 1);
    expect(pagesOf(manager, chat).slice(0, 3)).toEqual([-1, -1, -1]);
    expect(manager.sequence(chat)).toMatchObject({ nComputed: 16, nPages: 2 });
  });

  test('what it sees is found, also where the pages before that were reused', () => {
    const manager = managerOf({ nPages: 5, window: 4 });
    const chat = addComputed(manager, tokensOf(12));
    const [, , page] = pagesOf(manager, chat);
    for (const seed of [1, 2, 3, 4]) manager.release(addComputed(manager, tokensOf(4, seed)));
    const again = manager.add(tokensOf(13));
    expect(manager.nToCompute(again)).toBe(1);
    manager.reserve(again);
    expect(pagesOf(manager, again).slice(0, 3)).toEqual([-1, -1, page]);
    // After these tokens there are pages only that are seen no more.
    expect(manager.nToCompute(manager.add(tokensOf(9)))).toBe(9);
    expect(manager.nToCompute(manager.add([...tokensOf(4, 9), ...tokensOf(13).slice(4)]))).toBe(13);
  });

  test('two pages are found only if both that it sees are there', () => {
    const manager = managerOf({ nPages: 6, window: 8 });
    const chat = addComputed(manager, tokensOf(8));
    manager.append(chat, tokensOf(12).slice(8));
    computeAll(manager, chat);
    expect(pagesOf(manager, chat)).toEqual([-1, 1, 2]);
    for (const seed of [1, 2, 3]) manager.release(addComputed(manager, tokensOf(8, seed)));
    expect(manager.nToCompute(manager.add(tokensOf(9)))).toBe(9);
    expect(manager.nToCompute(manager.add(tokensOf(13)))).toBe(1);
  });

  test.each([
    { window: -1, nHeld: 10, why: 'all of it' },
    { window: 4, nHeld: 2, why: 'what a query after it sees' },
    { window: 5, nHeld: 3, why: 'a page more where the window begins in it' },
    { window: 0, nHeld: 1, why: 'the last page at least' },
  ])('a pin with a window of $window keeps $why, and all is found', ({ window, nHeld }) => {
    const manager = managerOf({ pageSize: 2, window });
    const system = manager.add(tokensOf(21));
    while (manager.nToCompute(system) > 0) {
      manager.reserve(system, 2);
      manager.commit(system);
    }
    manager.pin(system);
    manager.release(system);
    expect(manager.usage().nUsed).toBe(nHeld);
    for (const seed of [1, 2, 3]) manager.release(addComputed(manager, tokensOf(12, seed)));
    expect(manager.nToCompute(manager.add([...tokensOf(20), 99]))).toBe(1);
  });

  test('a sequence that came back without its beginning is found all the same', () => {
    const stored: number[] = [];
    const onEvent = (event: PageEvent) => event.type === 'stored' && stored.push(event.page);
    const manager = managerOf({ nPages: 4, window: 4, nHostPages: 4, onEvent });
    const chat = addComputed(manager, tokensOf(12));
    manager.swapOut(chat);
    for (const seed of [1, 2, 3, 4]) manager.release(addComputed(manager, tokensOf(4, seed)));
    expect(manager.swapIn(chat)).toHaveLength(1);
    // It is not written yet.
    expect(manager.nToCompute(manager.add(tokensOf(13)))).toBe(13);
    stored.length = 0;
    manager.append(chat, [12, 13, 14, 15]);
    computeAll(manager, chat);
    expect(stored).toEqual([3, 2]);
    expect(manager.nToCompute(manager.add(tokensOf(17)))).toBe(1);
  });
});

describe('what events say', () => {
  test('is what is found, also where a page was reused before one that is still held', () => {
    const events: PageEvent[] = [];
    const manager = managerOf({ nPages: 3, pageSize: 2, window: 2, onEvent: (event) => events.push(event) });
    const chat = manager.add(tokensOf(6));
    for (let i = 0; i < 3; i++) {
      manager.reserve(chat, 2);
      manager.commit(chat);
    }
    events.length = 0;
    const other = addComputed(manager, [9, 9]);
    const [page] = pagesOf(manager, other);
    const stored = (at: number, parent: number, ...tokens: number[]) => ({
      type: 'stored',
      salt: 0,
      page: at,
      parent,
      tokens: Int32Array.from(tokens),
    });
    expect(events).toEqual([
      // What the page had is known by a number from now on, also to the page after it.
      stored(-3, 0, 2, 3),
      stored(2, -3, 4, 5),
      { type: 'removed', page },
      stored(page!, -1, 9, 9),
    ]);
    expect(manager.nToCompute(manager.add([9, 9, 4, 5, 7]))).toBe(3);
    manager.release(chat);
    events.length = 0;
    manager.release(addComputed(manager, [8, 8, 8, 8]));
    expect(events.filter(({ type }) => type === 'removed')).toEqual(
      [0, 2, -3, -2].map((gone) => ({ type: 'removed', page: gone })),
    );
  });
});

describe('swapping', () => {
  test('moves pages to the host and back', () => {
    const manager = managerOf({ nHostPages: 4, isCaching: false });
    const chat = addComputed(manager, tokensOf(10));
    expect(manager.swapOut(chat)).toEqual([
      [0, 0],
      [1, 1],
      [2, 2],
    ]);
    expect(manager.nFreePages).toBe(16);
    expect(manager.usage().nHostUsed).toBe(3);
    expect(manager.sequence(chat)).toMatchObject({ isSwapped: true, nComputed: 10, nPages: 0 });
    addComputed(manager, tokensOf(1));
    const copies = manager.swapIn(chat) as readonly (readonly [number, number])[];
    expect(copies.map(([hostPage]) => hostPage)).toEqual([0, 1, 2]);
    expect(pagesOf(manager, chat)).toEqual(copies.map(([, page]) => page));
    expect(manager.usage().nHostUsed).toBe(0);
  });

  test('copies nothing back that is still there', () => {
    const manager = managerOf({ nHostPages: 4 });
    const chat = addComputed(manager, tokensOf(10));
    const before = pagesOf(manager, chat);
    manager.swapOut(chat);
    expect(manager.swapIn(chat)).toEqual([[2, 2]]);
    expect(pagesOf(manager, chat)).toEqual(before);
  });

  test('leaves behind what is behind the window, also if it is still there', () => {
    const manager = managerOf({ nHostPages: 4, window: 4 });
    const chat = addComputed(manager, tokensOf(16));
    manager.swapOut(chat);
    manager.swapIn(chat);
    expect(pagesOf(manager, chat).slice(0, 3)).toEqual([-1, -1, -1]);
    expect(manager.nFreePages).toBe(15);
  });

  test('does not keep a sequence from being cut back, which frees what is no longer needed', () => {
    const manager = managerOf({ nHostPages: 4, isCaching: false });
    const chat = addComputed(manager, tokensOf(14));
    manager.swapOut(chat);
    manager.truncate(chat, 6);
    expect(manager.sequence(chat)).toMatchObject({ nTokens: 6, nComputed: 6, isSwapped: true });
    expect(manager.usage().nHostUsed).toBe(2);
    expect((manager.swapIn(chat) as readonly PageCopy[]).map(([hostPage]) => hostPage)).toEqual([0, 1]);
    manager.swapOut(chat);
    manager.truncate(chat, 0);
    expect(manager.sequence(chat)).toMatchObject({ nComputed: 0, isSwapped: false });
    expect(manager.usage().nHostUsed).toBe(0);
  });

  test('nor does a window, but then what is behind it is computed again', () => {
    const manager = managerOf({ nHostPages: 4, window: 4 });
    const chat = addComputed(manager, tokensOf(16));
    manager.swapOut(chat);
    manager.truncate(chat, 6);
    expect(manager.sequence(chat)).toMatchObject({ nTokens: 6, nComputed: 0, isSwapped: false });
  });

  test('nor from being forked, and both have the same host pages', () => {
    const manager = managerOf({ nHostPages: 4, isCaching: false });
    const chat = addComputed(manager, tokensOf(14));
    manager.swapOut(chat);
    const forks = [manager.fork(chat), manager.fork(chat, 5)];
    expect(manager.usage().nHostUsed).toBe(4);
    manager.release(chat);
    expect(manager.usage().nHostUsed).toBe(4);
    for (const fork of forks) expect(manager.swapIn(fork)).not.toBe('full');
    expect(manager.usage().nHostUsed).toBe(0);
    expect(forks.map((fork) => manager.sequence(fork).nPages)).toEqual([4, 2]);
  });

  test('is refused by a full host and by a full pool, which changes nothing', () => {
    const manager = managerOf({ nPages: 4, nHostPages: 2 });
    const long = addComputed(manager, tokensOf(12));
    expect(manager.swapOut(long)).toBe('full');
    expect(manager.sequence(long).nComputed).toBe(12);
    manager.release(long);
    const short = addComputed(manager, tokensOf(8, 1));
    manager.swapOut(short);
    addComputed(manager, tokensOf(12, 2));
    expect(manager.swapIn(short)).toBe('full');
    expect(manager.sequence(short).isSwapped).toBe(true);
    expect(manager.evict(short)).toBeUndefined();
    expect(manager.usage().nHostUsed).toBe(0);
  });
});

describe('the hit rate', () => {
  test('counts each prompt once, against what others have computed', () => {
    const manager = managerOf();
    const chat = addComputed(manager, tokensOf(9));
    manager.evict(chat);
    computeAll(manager, chat);
    expect(manager.usage().hitPercent).toBe(0);
    const other = addComputed(manager, [...tokensOf(8), 9, 9]);
    expect(manager.usage().hitPercent).toBeCloseTo((100 * 8) / (9 + 10));
    manager.evict(other);
    computeAll(manager, other);
    manager.truncate(manager.fork(other), 0);
    expect(manager.usage().hitPercent).toBeCloseTo((100 * 8) / (9 + 10));
  });
});

describe('whether a sequence can ever fit', () => {
  test.each([
    { nTokens: 64, pinned: 0, window: -1, want: true, why: 'into all pages' },
    { nTokens: 65, pinned: 0, window: -1, want: false, why: 'not with a page more' },
    { nTokens: 56, pinned: 8, window: -1, want: true, why: 'into those that are not pinned' },
    { nTokens: 57, pinned: 8, window: -1, want: false, why: 'but no more' },
    { nTokens: 1000, pinned: 8, window: 8, want: true, why: 'however long with a window' },
    { nTokens: 1000, pinned: 8, window: 53, want: false, why: 'unless that is too wide' },
  ])('$nTokens tokens with $pinned pinned, window $window: $why', ({ nTokens, pinned, window, want }) => {
    const manager = managerOf({ window });
    manager.pin(addComputed(manager, tokensOf(pinned, 1)));
    const chat = manager.add(tokensOf(nTokens));
    expect(manager.canFit(chat)).toBe(want);
  });

  test('pinned pages that it has in common count for it', () => {
    const manager = managerOf();
    manager.pin(addComputed(manager, tokensOf(32)));
    const chat = manager.add(tokensOf(64));
    expect(manager.canFit(chat)).toBe(true);
    computeAll(manager, chat);
    expect(manager.canFit(chat)).toBe(true);
    manager.append(chat, [1]);
    expect(manager.canFit(chat)).toBe(false);
  });
});

describe('the pool', () => {
  test('shrinks to what is used and what is worth most, and grows again', () => {
    const manager = managerOf({ nPages: 8 });
    manager.release(addComputed(manager, tokensOf(8)));
    manager.release(addComputed(manager, tokensOf(8, 1)));
    const chat = addComputed(manager, tokensOf(8, 2));
    expect(pagesOf(manager, chat)).toEqual([4, 5]);
    expect(manager.resize(1)).toBe('full');
    // Stays: what is used, and the page that leads to the one released last.
    expect(manager.resize(3)).toEqual([
      [4, 0],
      [5, 1],
    ]);
    expect(pagesOf(manager, chat)).toEqual([0, 1]);
    expect(manager.nToCompute(manager.add(tokensOf(9, 2)))).toBe(1);
    expect(manager.nToCompute(manager.add(tokensOf(9, 1)))).toBe(5);
    expect(manager.nToCompute(manager.add(tokensOf(9)))).toBe(9);
    expect(manager.resize(8)).toEqual([]);
    expect(manager.nFreePages).toBe(6);
  });

  test('forgets everything when it is reset', () => {
    const manager = managerOf({ nHostPages: 4 });
    const [chat, away] = [addComputed(manager, tokensOf(9)), addComputed(manager, tokensOf(9, 1))];
    const pin = manager.pin(chat);
    manager.swapOut(away);
    manager.append(chat, [1]);
    manager.reserve(chat, 1);
    manager.reset();
    expect(manager.nFreePages).toBe(16);
    expect(manager.usage()).toMatchObject({ nCached: 0, nHostUsed: 0, nSequences: 2 });
    expect(manager.nToCompute(chat)).toBe(10);
    manager.unpin(pin);
    computeAll(manager, chat);
  });

  test('keeps what is in host memory if the device alone is lost', () => {
    const manager = managerOf({ nHostPages: 4 });
    const [here, away] = [addComputed(manager, tokensOf(9)), addComputed(manager, tokensOf(9, 1))];
    const out = manager.swapOut(away);
    manager.reset({ keepSwapped: true });
    expect(manager.nToCompute(here)).toBe(9);
    expect(manager.sequence(away)).toMatchObject({ nComputed: 9, isSwapped: true });
    const back = manager.swapIn(away) as readonly PageCopy[];
    expect(back.map(([hostPage]) => hostPage)).toEqual((out as readonly PageCopy[]).map(([, page]) => page));
    expect(manager.usage()).toMatchObject({ nUsed: 3, nHostUsed: 0 });
  });

  test('knows its pins after they have moved', () => {
    const manager = managerOf({ nPages: 12 });
    const gone = addComputed(manager, tokensOf(20, 1));
    manager.pin(addComputed(manager, tokensOf(16)));
    manager.release(gone);
    expect(manager.resize(8)).not.toEqual([]);
    expect(manager.canFit(manager.add(tokensOf(32)))).toBe(true);
    expect(manager.canFit(manager.add(tokensOf(32, 2)))).toBe(false);
  });

  test('has no page too many at an exact boundary', () => {
    const manager = managerOf({ nPages: 2 });
    const chat = addComputed(manager, tokensOf(8));
    expect(manager.nFreePages).toBe(0);
    manager.append(chat, [1]);
    expect(manager.nMissing(chat, 1)).toBe(1);
    expect(manager.reserve(chat, 1)).toBe('full');
    expect(manager.sequence(chat)).toMatchObject({ nComputed: 8, nInFlight: 0 });
  });
});

describe('wrong arguments', () => {
  const chatOf = (manager: PageManager) => addComputed(manager, tokensOf(5));

  test.each<{ why: string; call: (manager: PageManager) => unknown; message: string }>([
    {
      why: 'a double release',
      call: (manager) => [0, 1].map(() => manager.release(0)),
      message: 'PageManager.release: sequence 0 was released already. Release it once, and use it no more.',
    },
    {
      why: 'a sequence that never was',
      call: (manager) => manager.reserve(99, 1),
      message: 'PageManager.reserve: there is no sequence 99. Pass the id of one that was started.',
    },
    {
      why: 'a negative count',
      call: (manager) => manager.reserve(chatOf(manager), -1),
      message: 'PageManager.reserve: nTokens must be a whole number ≥ 0, not -1.',
    },
    {
      why: 'tokens that are none',
      call: (manager) => manager.append(chatOf(manager), [1, 0.5]),
      message: 'PageManager.append: tokens[1] must be a whole number of 32 bits, not 0.5.',
    },
    {
      why: 'a salt that is none',
      call: (manager) => manager.add([1], { salt: 2 ** 40 }),
      message: 'PageManager.add: salt must be a whole number of 32 bits, not 1099511627776.',
    },
    {
      why: 'more rejected than computed',
      call: (manager) => manager.commit(chatOf(manager), 1),
      message: 'PageManager.commit: nRejected must be a whole number from 0 to 0, not 1.',
    },
    {
      why: 'a double unpin',
      call: (manager) => manager.unpin(7),
      message: 'PageManager.unpin: there is no pin 7. Unpin once what pin returned.',
    },
    {
      why: 'what is not swapped out',
      call: (manager) => manager.swapIn(chatOf(manager)),
      message: 'PageManager.swapIn: sequence 1 is not in host memory. Swap it out first.',
    },
    {
      why: 'what is swapped out',
      call: (manager) => {
        const chat = chatOf(manager);
        manager.swapOut(chat);
        manager.reserve(chat, 1);
      },
      message: 'PageManager.reserve: sequence 1 is in host memory. Swap it in first.',
    },
    {
      why: 'what is in flight',
      call: (manager) => {
        const chat = manager.add(tokensOf(5));
        manager.reserve(chat, 5);
        manager.fork(chat);
      },
      message: 'PageManager.fork: sequence 1 has 5 tokens in flight. Commit them first.',
    },
    {
      why: 'rejected tokens with others after them',
      call: (manager) => {
        const chat = manager.add(tokensOf(5));
        manager.reserve(chat, 3);
        manager.commit(chat, 1);
      },
      message:
        'PageManager.commit: sequence 1 has 2 tokens after those in flight, so none of these can be rejected. Truncate it instead.',
    },
    {
      why: 'tokens that are text',
      call: (manager) => manager.add('12' as never),
      message: 'PageManager.add: tokens must be an array of numbers, not "12".',
    },
    {
      why: 'tokens in lists',
      call: (manager) => manager.add([[1]] as never),
      message: 'PageManager.add: tokens[0] must be a whole number of 32 bits, not [1].',
    },
    {
      why: 'a salt in place of options',
      call: (manager) => manager.add([1], 7 as never),
      message: 'PageManager.add: the arguments must be one object, not 7.',
    },
    {
      why: 'a misspelt option',
      call: (manager) => manager.add([1], { private: true } as never),
      message: 'PageManager.add: there is no argument private. There are salt, isPrivate.',
    },
    {
      why: 'a flag that is none',
      call: (manager) => manager.add([1], { isPrivate: 1 as never }),
      message: 'PageManager.add: isPrivate must be true or false, not 1.',
    },
    {
      why: 'a misspelt option of reset',
      call: (manager) => manager.reset({ keepswapped: true } as never),
      message: 'PageManager.reset: there is no argument keepswapped. There are keepSwapped.',
    },
    {
      why: 'a count that is none',
      call: (manager) => manager.fork(0, null as never),
      message: 'PageManager.fork: nTokens must be a whole number from 0 to 1, not null.',
    },
    {
      why: 'a sequence that is a name',
      call: (manager) => manager.batch(['chat'] as never),
      message: 'PageManager.batch: there is no sequence "chat". Pass the id of one that was started.',
    },
    {
      why: 'one sequence in place of a list',
      call: (manager) => manager.batch(0 as never),
      message: 'PageManager.batch: sequences must be an array of numbers, not 0.',
    },
    {
      why: 'a pool that grows beyond its size',
      call: (manager) => manager.resize(17),
      message: 'PageManager.resize: nPages must be a whole number from 1 to 16, not 17.',
    },
  ])('$why', ({ call, message }) => {
    const manager = managerOf({ nHostPages: 4 });
    manager.add([1]);
    expect(() => call(manager)).toThrow(new PageflashError('argument', message));
  });

  test.each<{ why: string; options: unknown; message: string }>([
    { why: 'no options', options: undefined, message: 'the arguments must be one object, not undefined.' },
    {
      why: 'a misspelt option',
      options: { nPages: 4, pageSize: 4, widow: 3 },
      message:
        'there is no argument widow. There are nPages, pageSize, nHostPages, window, isCaching, onEvent.',
    },
    {
      why: 'a flag that is none',
      options: { nPages: 4, pageSize: 4, isCaching: 'no' },
      message: 'isCaching must be true or false, not "no".',
    },
    {
      why: 'a listener that is none',
      options: { nPages: 4, pageSize: 4, onEvent: {} },
      message: 'onEvent must be a function, not a plain object.',
    },
    {
      why: 'a number that is text',
      options: { nPages: '4', pageSize: 4 },
      message: 'nPages must be a whole number ≥ 1, not "4".',
    },
  ])('a manager with $why', ({ options, message }) => {
    expect(() => new PageManager(options as PageManagerOptions)).toThrow(
      new PageflashError('argument', `PageManager: ${message}`),
    );
  });
});
