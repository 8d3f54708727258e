import { describe, expect, test } from 'vitest';
import type { PageEvent } from '../../src/paging/prefix/pageEvents.js';
import { addComputed, computeAll, managerOf, pagesOf, tokensOf } from './pagingFixtures.js';

describe('a window', () => {
  test('frees pages, and the table no longer has them', () => {
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

  test('a sequence that was swapped in without its first pages is found all the same', () => {
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
