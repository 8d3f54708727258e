import { describe, expect, test } from 'vitest';
import { BlockAllocator } from '../../src/paging/blockAllocator.js';
import { fuzzAllocator } from './fuzz/fuzzPaging.js';
import { allocate, allocatorOf } from './pagingFixtures.js';

test('after random operations each sequence finds its own tokens', { timeout: 60_000 }, () => {
  expect(fuzzAllocator({ nRuns: 100, seed: 1 })).toBeGreaterThan(3000);
});

describe('append', () => {
  test.each([
    { nTokens: 0, pages: [], why: 'nothing' },
    { nTokens: 1, pages: [0], why: 'one token has a page' },
    { nTokens: 4, pages: [0], why: 'an exact boundary has no page more' },
    { nTokens: 5, pages: [0, 1], why: 'one token over the boundary has one more' },
  ])('$nTokens tokens: $why', ({ nTokens, pages }) => {
    const allocator = allocatorOf(3);
    expect(allocator.pages(allocate(allocator, nTokens))).toEqual(pages);
    expect(allocator.nFreePages).toBe(3 - pages.length);
  });

  test('fills the last page before it takes another one', () => {
    const allocator = allocatorOf(3);
    const sequence = allocate(allocator, 3);
    allocator.append(sequence, 1);
    expect(allocator.pages(sequence)).toEqual([0]);
    allocator.append(sequence, 1);
    expect(allocator.pages(sequence)).toEqual([0, 1]);
  });

  test('takes every page or none', () => {
    const allocator = allocatorOf(3);
    const sequence = allocate(allocator, 5);
    expect(allocator.append(sequence, 8)).toBe('full');
    expect(allocator.nTokens(sequence)).toBe(5);
    expect(allocator.nFreePages).toBe(1);
    expect(allocator.append(sequence, 7)).toEqual([]);
    expect(allocator.append(sequence, 1)).toBe('full');
    expect(allocator.append(sequence, 0)).toEqual([]);
  });
});

describe('fork', () => {
  test('shares pages until one of the two writes into the last page', () => {
    const allocator = allocatorOf(8);
    const parent = allocate(allocator, 6);
    const child = allocator.fork(parent);
    expect(allocator.nFreePages).toBe(6);
    expect(allocator.append(child, 1)).toEqual([[1, 2]]);
    expect(allocator.pages(child)).toEqual([0, 2]);
    expect(allocator.append(parent, 1)).toEqual([]);
    expect(allocator.pages(parent)).toEqual([0, 1]);
  });

  test('copies nothing where the last page is full', () => {
    const allocator = allocatorOf(8);
    const parent = allocate(allocator, 8);
    const child = allocator.fork(parent);
    expect(allocator.append(child, 1)).toEqual([]);
    expect(allocator.pages(child)).toEqual([0, 1, 2]);
    expect(allocator.pages(parent)).toEqual([0, 1]);
  });

  test('a copy counts as a page', () => {
    const allocator = allocatorOf(2);
    const parent = allocate(allocator, 3);
    const child = allocator.fork(parent);
    expect(allocator.append(child, 2)).toBe('full');
    expect(allocator.pages(child)).toEqual([0]);
    expect(allocator.append(child, 1)).toEqual([[0, 1]]);
    expect(allocator.append(parent, 2)).toBe('full');
  });

  test('pages are free when the last sequence has released them', () => {
    const allocator = allocatorOf(4);
    const parent = allocate(allocator, 8);
    const child = allocator.fork(parent);
    allocator.release(parent);
    expect(allocator.nFreePages).toBe(2);
    allocator.release(child);
    expect(allocator.nFreePages).toBe(4);
    expect(allocator.nSequences).toBe(0);
  });
});

describe('truncate', () => {
  test.each([
    { nTokens: 9, nPages: 3, why: 'keeps a page that still has a token' },
    { nTokens: 8, nPages: 2, why: 'keeps no page beyond an exact boundary' },
    { nTokens: 0, nPages: 0, why: 'keeps nothing' },
  ])('to $nTokens of 10 tokens $why', ({ nTokens, nPages }) => {
    const allocator = allocatorOf(3);
    const sequence = allocate(allocator, 10);
    allocator.truncate(sequence, nTokens);
    expect(allocator.nTokens(sequence)).toBe(nTokens);
    expect(allocator.nFreePages).toBe(3 - nPages);
  });

  test('into a shared page: what is written next goes into a copy', () => {
    const allocator = allocatorOf(4);
    const parent = allocate(allocator, 8);
    const child = allocator.fork(parent);
    allocator.truncate(child, 6);
    expect(allocator.append(child, 1)).toEqual([[1, 2]]);
    expect(allocator.pages(parent)).toEqual([0, 1]);
  });
});

describe('wrong arguments throw and change nothing', () => {
  const released = (allocator: BlockAllocator) => {
    const sequence = allocate(allocator, 4);
    allocator.release(sequence);
    return sequence;
  };

  test('a double release', () => {
    const allocator = allocatorOf(4);
    const sequence = released(allocator);
    expect(() => allocator.release(sequence)).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: BlockAllocator.release: sequence 0 was released already. Release it once, and use it no more.]`,
    );
    expect(allocator.nFreePages).toBe(4);
    const next = allocate(allocator, 4);
    expect(next).not.toBe(sequence);
    expect(() => allocator.release(sequence)).toThrow();
    expect(allocator.nFreePages).toBe(3);
  });

  test('an unknown sequence', () => {
    expect(() => allocatorOf(4).append(7, 1)).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: BlockAllocator.append: there is no sequence 7. Pass the id of one that was started.]`,
    );
    expect(() => allocatorOf(4).fork(-1)).toThrow();
  });

  test('invalid counts', () => {
    const allocator = allocatorOf(4);
    const sequence = allocate(allocator, 4);
    expect(() => allocator.append(sequence, -1)).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: BlockAllocator.append: nTokens must be a whole number ≥ 0, not -1.]`,
    );
    expect(() => allocator.append(sequence, 0.5)).toThrow();
    expect(() => allocator.append(sequence, NaN)).toThrow();
    expect(() => allocator.truncate(sequence, 5)).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: BlockAllocator.truncate: nTokens must be a whole number from 0 to 4, not 5.]`,
    );
    expect(allocator.nTokens(sequence)).toBe(4);
  });

  test('a batch whose counts do not fit', () => {
    const allocator = allocatorOf(4);
    const sequence = allocate(allocator, 4);
    expect(() => allocator.batch([sequence], [])).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: BlockAllocator.batch: nNewTokens must have a number for each of 1 sequences, not 0.]`,
    );
    expect(() => allocator.batch([sequence], [5])).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: BlockAllocator.batch: nNewTokens must be a whole number from 0 to 4, not 5.]`,
    );
  });

  test('arguments that are not lists', () => {
    const allocator = allocatorOf(4);
    expect(() => allocator.batch(allocate(allocator, 4) as never, [1])).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: BlockAllocator.batch: sequences must be an array of numbers, not 0.]`,
    );
    expect(() => allocator.batch([], undefined as never)).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: BlockAllocator.batch: nNewTokens must be an array of numbers, not undefined.]`,
    );
  });

  test('invalid options; any object of a class with pages is accepted', () => {
    expect(() => new BlockAllocator(undefined as never)).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: BlockAllocator: the arguments must be one object, not undefined.]`,
    );
    expect(() => new BlockAllocator([8, 4] as never)).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: BlockAllocator: the arguments must be one object, not [8, 4].]`,
    );
    expect(() => new BlockAllocator(Promise.resolve() as never)).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: BlockAllocator: the arguments must be one object, not a promise. Await it first.]`,
    );
    const misspelt = { nPages: 8, pageSize: 4, pagesize: 2 };
    expect(() => new BlockAllocator(misspelt)).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: BlockAllocator: there is no argument pagesize. There are nPages, pageSize.]`,
    );
    class Cache {
      readonly nLayers = 2;
      readonly nPages = 8;
      readonly pageSize = 4;
    }
    expect(new BlockAllocator(new Cache()).nPages).toBe(8);
  });

  test('a pool without pages, or with more slots than there are numbers', () => {
    expect(() => allocatorOf(0)).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: BlockAllocator: nPages must be a whole number ≥ 1, not 0.]`,
    );
    expect(() => allocatorOf(8, 0)).toThrow();
    expect(() => allocatorOf(2 ** 24, 2 ** 10)).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: BlockAllocator: nPages · pageSize must be a whole number from 1 to 2147483647, not 17179869184.]`,
    );
  });
});
