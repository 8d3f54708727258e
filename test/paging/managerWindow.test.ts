import { describe, expect, test } from 'vitest';
import { refusal } from '../check/refusal.js';
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

  describe('with first keys', () => {
    const KEPT = { nPages: 6, window: 4, firstKeys: 5 };

    test('keeps their pages, and frees those between them and the window', () => {
      const manager = managerOf(KEPT);
      const chat = manager.add(tokensOf(100));
      for (let i = 0; i < 100; i += 4) {
        manager.reserve(chat, 4);
        manager.commit(chat);
      }
      expect(manager.firstKeys).toBe(5);
      expect(pagesOf(manager, chat).flatMap((page, column) => (page < 0 ? [] : [column]))).toEqual([
        0, 1, 24,
      ]);
      expect(manager.sequence(chat)).toMatchObject({ nComputed: 100, nPages: 3 });
    });

    test('finds a prompt only with them', () => {
      const manager = managerOf({ ...KEPT, nPages: 12 });
      manager.release(addComputed(manager, tokensOf(16)));
      const again = manager.add(tokensOf(17));
      manager.reserve(again);
      expect(pagesOf(manager, again).map((page) => page >= 0)).toEqual([true, true, false, true, true]);
      manager.release(again);
      // Only the page of the first keys is reused: what comes later is worth nothing without it.
      const other = manager.add(tokensOf(13));
      manager.reserve(other);
      expect(manager.sequence(other).nComputed).toBe(12);
      manager.release(other);
      for (const seed of [1, 2, 3, 4]) manager.release(addComputed(manager, tokensOf(12, seed)));
      expect(manager.nToCompute(manager.add(tokensOf(17)))).toBe(17);
    });

    test('truncated to them, a sequence goes on with their pages', () => {
      const manager = managerOf({ ...KEPT, nPages: 30, nHostPages: 6 });
      const [chat, other] = [0, 1].map((seed) => {
        const id = manager.add(tokensOf(24, seed));
        for (let i = 0; i < 24; i += 4) {
          manager.reserve(id, 4);
          manager.commit(id);
        }
        return id;
      }) as [number, number];
      const [first, second] = pagesOf(manager, chat);
      manager.truncate(chat, 7);
      expect(pagesOf(manager, chat)).toEqual([first, second]);
      manager.swapOut(other);
      manager.truncate(other, 3);
      expect(manager.sequence(other)).toMatchObject({ nComputed: 3, isSwapped: true });
      expect(manager.usage().nHostUsed).toBe(1);
      // Column 2 is gone, which a query after 12 tokens sees.
      const third = manager.fork(addComputed(manager, tokensOf(20, 2)), 12);
      expect(manager.sequence(third).nComputed).toBe(0);
    });

    test('saves and restores them, for a manager that keeps as many', () => {
      const manager = managerOf(KEPT);
      const chat = manager.add(tokensOf(22));
      for (let i = 0; i < 22; i += 4) {
        manager.reserve(chat, 4);
        manager.commit(chat);
      }
      const saved = manager.save({ sequence: chat });
      expect(saved).toMatchObject({ firstColumn: 4, nKeptColumns: 2, nPages: 4 });
      const state = { tokens: saved.tokens, salt: 0, isPrivate: false, nComputed: 22, nOnceComputed: 22 };
      const columns = { firstColumn: 4, nKeptColumns: 2 };
      const elsewhere = managerOf(KEPT);
      const restored = elsewhere.restore({ ...state, ...columns });
      if (restored === 'full') throw new Error('full');
      expect(restored.writes.map(([i]) => i)).toEqual([0, 1, 2, 3]);
      elsewhere.commit(restored.sequence);
      expect(pagesOf(elsewhere, restored.sequence).map((page) => page >= 0)).toEqual([
        true,
        true,
        false,
        false,
        true,
        true,
      ]);
      expect(elsewhere.nToCompute(elsewhere.add(tokensOf(21)))).toBe(1);
      expect(refusal(() => managerOf({ window: 4 }).restore({ ...state, ...columns }))).toMatchInlineSnapshot(
        `"argument: PageManager.restore: the first 2 columns have pages of first keys, but here those of 0 are kept. Save with the firstKeys of this manager."`,
      );
    });
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
