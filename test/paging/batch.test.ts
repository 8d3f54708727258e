import { describe, expect, test } from 'vitest';
import type { BlockAllocator } from '../../src/paging/blockAllocator.js';
import { PageManager } from '../../src/paging/pageManager.js';
import { commonPrefix } from '../../src/paging/pool/batch.js';
import { addComputed, allocate, allocatorOf, tokensOf } from './pagingFixtures.js';

describe('batch', () => {
  test('has the arrays of a step', () => {
    const allocator = allocatorOf(8);
    const a = allocate(allocator, 6);
    const b = allocate(allocator, 4);
    allocator.append(a, 3);
    allocator.append(b, 1);
    const batch = allocator.batch([b, a], [1, 3]);
    expect({ ...arraysOf(batch), maxSeqlenQ: batch.maxSeqlenQ, maxSeqlenK: batch.maxSeqlenK }).toEqual({
      blockTable: [2, 4, -1, -1, 0, 1, 3, -1],
      cacheSeqlens: [4, 6],
      sequsedK: [5, 9],
      cuSeqlensQ: [0, 1, 4],
      tokenPositions: [4, 6, 7, 8],
      slotMapping: [16, 6, 7, 12],
      maxSeqlenQ: 3,
      maxSeqlenK: 9,
    });
    expect(batch.tableWidth).toBe(4);
  });

  test('keeps its arrays from step to step', () => {
    const allocator = allocatorOf(8);
    const sequences = [allocate(allocator, 6), allocate(allocator, 4)];
    const step = () => {
      for (const sequence of sequences) allocator.append(sequence, 1);
      return { ...allocatorArrays(allocator, sequences) };
    };
    const before = step();
    const after = step();
    for (const name of Object.keys(before) as (keyof typeof before)[]) expect(after[name]).toBe(before[name]);
  });

  test('shows every change of a row: a page added, a page replaced, pages given back, another sequence', () => {
    const allocator = allocatorOf(8);
    const a = allocate(allocator, 6);
    const tableOf = (...sequences: number[]) =>
      Array.from(
        allocator.batch(
          sequences,
          sequences.map(() => 1),
        ).blockTable,
      );
    expect(tableOf(a)).toEqual([0, 1]);
    const b = allocator.fork(a);
    allocator.append(a, 1);
    expect(tableOf(a)).toEqual([0, 2]);
    allocator.append(a, 2);
    expect(tableOf(a)).toEqual([0, 2, 3, -1]);
    expect(tableOf(b)).toEqual([0, 1, -1, -1]);
    expect(tableOf(a, b)).toEqual([0, 2, 3, -1, 0, 1, -1, -1]);
    allocator.truncate(a, 3);
    expect(tableOf(a, b)).toEqual([0, -1, -1, -1, 0, 1, -1, -1]);
  });

  test('shows all rows again after a smaller batch, also in arrays that had to grow', () => {
    const allocator = allocatorOf(18);
    const sequences = Array.from({ length: 9 }, () => allocate(allocator, 8));
    for (const count of [7, 1, 9]) {
      const some = sequences.slice(0, count);
      const { blockTable } = allocator.batch(some, Array(count).fill(1));
      expect([...blockTable]).toEqual(some.flatMap((sequence) => allocator.pages(sequence)));
    }
  });

  test('is an object of own properties, which a spread copies, and stays the same object', () => {
    const allocator = allocatorOf(8);
    const sequence = allocate(allocator, 6);
    const batch = allocator.batch([sequence], [2]);
    expect({ ...batch }).toEqual({
      nSequences: 1,
      nNewTokens: 2,
      blockTable: Int32Array.of(0, 1),
      tableWidth: 2,
      cacheSeqlens: Int32Array.of(4),
      sequsedK: Int32Array.of(6),
      cuSeqlensQ: Int32Array.of(0, 2),
      cuSeqlensKNew: Int32Array.of(0, 2),
      cacheBatchIdx: undefined,
      tokenPositions: Int32Array.of(4, 5),
      slotMapping: Int32Array.of(4, 5),
      maxSeqlenQ: 2,
      maxSeqlenK: 6,
    });
    expect(Object.keys(batch)).toContain('cacheBatchIdx');
    expect(batch.cuSeqlensKNew).toBe(batch.cuSeqlensQ);
    expect(allocator.batch([sequence], [6])).toBe(batch);
    expect(batch).toMatchObject({ nNewTokens: 6, maxSeqlenQ: 6 });
  });

  test('may be empty', () => {
    expect(arraysOf(allocatorOf(1).batch([], []))).toEqual({
      blockTable: [],
      cacheSeqlens: [],
      sequsedK: [],
      cuSeqlensQ: [0],
      tokenPositions: [],
      slotMapping: [],
    });
  });
});

test('the common prefix is what all sequences have in the same pages, written and not behind a window', () => {
  const manager = new PageManager({ nPages: 32, pageSize: 4 });
  const prompts = [tokensOf(14), tokensOf(14), [...tokensOf(8), 90, 91, 92, 93, 94]];
  const sequences = prompts.map((prompt) => addComputed(manager, prompt));
  for (const sequence of sequences) {
    manager.append(sequence, [1]);
    manager.reserve(sequence, 1);
  }
  const commonOf = (...some: number[]) => commonPrefix(manager.batch(some.map((i) => sequences[i]!)), 4);
  expect(commonOf(0, 1)).toBe(12);
  expect(commonOf(0, 1, 2)).toBe(8);
  expect(commonOf(0)).toBe(0);
  expect(commonOf()).toBe(0);
  expect(() => commonPrefix(manager.batch(sequences), 0)).toThrowErrorMatchingInlineSnapshot(
    `[PageflashError: commonPrefix: pageSize must be a whole number ≥ 1, not 0.]`,
  );
  expect(() => commonPrefix(sequences as never, 4)).toThrowErrorMatchingInlineSnapshot(
    `[PageflashError: commonPrefix: batch must be a batch or a step, not [0, 1, 2].]`,
  );
});

type Arrays = ReturnType<typeof allocatorArrays>;

function allocatorArrays(allocator: BlockAllocator, sequences: readonly number[]) {
  const { blockTable, cacheSeqlens, sequsedK, cuSeqlensQ, tokenPositions, slotMapping } = allocator.batch(
    sequences,
    sequences.map(() => 1),
  );
  return { blockTable, cacheSeqlens, sequsedK, cuSeqlensQ, tokenPositions, slotMapping };
}

function arraysOf(batch: Arrays): Record<keyof Arrays, number[]> {
  return {
    blockTable: [...batch.blockTable],
    cacheSeqlens: [...batch.cacheSeqlens],
    sequsedK: [...batch.sequsedK],
    cuSeqlensQ: [...batch.cuSeqlensQ],
    tokenPositions: [...batch.tokenPositions],
    slotMapping: [...batch.slotMapping],
  };
}
