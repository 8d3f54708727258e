import { describe, expect, test } from 'vitest';
import type { PageEvent } from '../../src/paging/prefix/pageEvents.js';
import { addComputed, computeAll, managerOf, pagesOf, tokensOf } from './pagingFixtures.js';

describe('what was computed is found', () => {
  test.each([
    { nShared: 12, nTokens: 13, nHit: 12, why: 'every full page' },
    { nShared: 11, nTokens: 13, nHit: 8, why: 'no page that is not full' },
    { nShared: 13, nTokens: 13, nHit: 12, why: 'all but the page with the last token' },
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

  test('two sequences that compute the same at once end up with the same pages', () => {
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

  test('those before a window together with the sequence that used them, after its own', () => {
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

  test('a page that was copied, and not changed, before the earlier pages of its prompt', () => {
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

describe('events', () => {
  test('are what is found, also where a page was reused before a later one that is still held', () => {
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

describe('the hit rate', () => {
  test('counts each prompt once, with what other sequences have computed', () => {
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
