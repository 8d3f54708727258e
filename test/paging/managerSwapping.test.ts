import { describe, expect, test } from 'vitest';
import type { PageCopy } from '../../src/paging/pool/pagePool.js';
import { addComputed, managerOf, pagesOf, tokensOf } from './pagingFixtures.js';

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

  test('lets a sequence be truncated, which frees host pages', () => {
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

  test('truncated behind the window: all is computed again', () => {
    const manager = managerOf({ nHostPages: 4, window: 4 });
    const chat = addComputed(manager, tokensOf(16));
    manager.swapOut(chat);
    manager.truncate(chat, 6);
    expect(manager.sequence(chat)).toMatchObject({ nTokens: 6, nComputed: 0, isSwapped: false });
  });

  test('lets a sequence be forked, and both have the same host pages', () => {
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
