import { describe, expect, test } from 'vitest';
import type { PageCopy } from '../../src/paging/pool/pagePool.js';
import { fuzzManager } from './fuzz/fuzzPaging.js';
import { addComputed, computeAll, managerOf, pagesOf, tokensOf } from './pagingFixtures.js';

describe('after random operations', () => {
  test('each token is where the table says, and the invariants hold', { timeout: 60_000 }, () => {
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

  test('with drafts loses the rejected ones', () => {
    const manager = managerOf();
    const chat = addComputed(manager, tokensOf(7));
    manager.append(chat, [90, 91, 92, 93]);
    manager.reserve(chat, 4);
    expect(manager.sequence(chat).nPages).toBe(3);
    manager.commit(chat, 3);
    expect(manager.sequence(chat)).toMatchObject({ nTokens: 8, nComputed: 8, nPages: 2 });
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

  test('takes only the first tokens, if asked to', () => {
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

  test('a page that is being copied is not given to another sequence', () => {
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

  test('pinned pages that it shares count for it', () => {
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
  test('shrinks to the used and the most recently cached pages, and grows again', () => {
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

  test('knows its pins after they moved', () => {
    const manager = managerOf({ nPages: 12 });
    const gone = addComputed(manager, tokensOf(20, 1));
    manager.pin(addComputed(manager, tokensOf(16)));
    manager.release(gone);
    expect(manager.resize(8)).not.toEqual([]);
    expect(manager.canFit(manager.add(tokensOf(32)))).toBe(true);
    expect(manager.canFit(manager.add(tokensOf(32, 2)))).toBe(false);
  });

  test('takes no page too many at an exact boundary', () => {
    const manager = managerOf({ nPages: 2 });
    const chat = addComputed(manager, tokensOf(8));
    expect(manager.nFreePages).toBe(0);
    manager.append(chat, [1]);
    expect(manager.nMissing(chat, 1)).toBe(1);
    expect(manager.reserve(chat, 1)).toBe('full');
    expect(manager.sequence(chat)).toMatchObject({ nComputed: 8, nInFlight: 0 });
  });
});
