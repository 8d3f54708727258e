import { describe, expect, test } from 'vitest';
import { splitParts } from '../../src/kernels/shared/attention.js';
import { packItems } from '../../src/kernels/shared/batchInfo.js';
import { attentionWork } from '../../src/plan/attentionWork.js';
import { batchOf } from './batch.js';
import { Random } from '../../tools/random.js';
import { traitsOf } from './traits.js';
import { tilesSeen } from '../../src/plan/splits.js';
import { seenKeys } from '../../src/reference/masks.js';
import {
  chunksOf,
  GPU,
  itemsOf,
  keysOf,
  randomBatches,
  SOFTWARE,
  workOf,
  type PlannedItem,
  type Sequences,
} from './work.js';

test('tiles of first keys and of a window count once each, and those between not at all', () => {
  const tileKeys = 16;
  for (const [qLen, kLen] of [
    [1, 300],
    [40, 300],
    [300, 300],
    [5, 3],
  ] as const)
    for (const left of [-1, 0, 20, 100])
      for (const firstKeys of [1, 16, 50, 400])
        for (const firstKey of [0, 20]) {
          const masks = { left, right: 0, firstKeys, causal: true };
          const { problem } = batchOf([[qLen, kLen]], { masks });
          const sequence = { sequence: 0, qLen, kLen, firstKey: Math.min(firstKey, kLen), nRows: qLen };
          for (let first = 0; first < qLen; first += 32) {
            const end = Math.min(first + 32, qLen);
            const tiles = new Set<number>();
            const options = { causal: true, windowSize: [left, -1], firstKeys } as const;
            const [begin] = [first, end - 1].map((i) =>
              seenKeys(i + kLen - qLen, kLen, sequence.firstKey, options),
            );
            const last = seenKeys(end - 1 + kLen - qLen, kLen, sequence.firstKey, options);
            // Of the first keys those that the last row sees; of windows from the first row's to the last row's.
            const ranges = [last[0]!, { begin: begin!.at(-1)!.begin, end: last.at(-1)!.end }];
            for (const range of ranges)
              for (let j = range.begin; j < range.end; j++) tiles.add(Math.floor(j / tileKeys));
            expect(tilesSeen(problem, sequence, first, end, tileKeys)).toBe(tiles.size);
          }
        }
});

describe('chunks', () => {
  test('each token of a split sequence has parts of its own, one behind the other', () => {
    for (const { sequences, options } of randomBatches(100)) {
      const work = workOf(sequences, options);
      let nParts = 0;
      const want = new Map(
        itemsOf(work)
          .filter(({ nChunks }) => nChunks > 1)
          .map(({ sequence, nChunks, firstPart }) => [sequence, { nChunks, firstPart }]),
      );
      const tokens = [...want]
        .toSorted(([a], [b]) => a - b)
        .flatMap(([sequence, { nChunks, firstPart }]) => {
          expect(firstPart).toBe(nParts);
          nParts += sequences[sequence]![0] * nChunks;
          // A token's first part, as attention.wgsl has it.
          return Array.from({ length: sequences[sequence]![0] }, (_, token) => ({
            sequence,
            token,
            firstPart: firstPart + token * nChunks,
            nParts: nChunks,
          }));
        });
      expect(work.merges).toEqual(tokens);
      expect(work.nParts).toBe(nParts);
    }
  });

  test.each([
    { numSplits: 1, chunks: 1, why: 'one is none' },
    { numSplits: 3, chunks: 3, why: 'as many as asked for' },
    { numSplits: 8, chunks: 8, why: 'one for each tile of keys' },
    { numSplits: 100, chunks: 8, why: 'no more than there are tiles' },
  ])('numSplits: $why', ({ numSplits, chunks }) => {
    expect(chunksOf(workOf([[1, 500]], { numSplits }))).toEqual([chunks]);
    expect(chunksOf(workOf([[40, 1000]], { numSplits }))).toEqual([chunks]);
  });

  test('numSplits: a sequence that sees no key has one', () => {
    const sequences: Sequences = [
      [1, 0],
      [30, 0],
    ];
    expect(chunksOf(workOf(sequences, { numSplits: 4 }))).toEqual([1, 1]);
  });

  test('numSplits: no more than an item can count', () => {
    const roomy = traitsOf({ maxBindingBytes: 2 ** 30 });
    const last = { sequence: 0, rowTile: 0, chunk: 65_534, nChunks: 65_535, firstPart: 0 };
    expect(packItems([[last]])).toContain(65_534 + 65_535 * 65_536);
    const most = itemsOf(workOf([[1, 64 * 65_535]], { numSplits: 70_000 }, roomy));
    expect(most).toHaveLength(65_535);
    // A tile more, and each chunk has two.
    const items = itemsOf(workOf([[1, 64 * 65_536]], { numSplits: 70_000 }, roomy));
    expect(items).toHaveLength(65_536 / 2);
    expect(items.every(({ nChunks }) => nChunks === 65_536 / 2)).toBe(true);
  });

  test('with numSplits fixed, a sequence is computed alike alone and among others', () => {
    for (const { sequences, options } of randomBatches(60)) {
      const numSplits = options.numSplits || 3;
      const batch = itemsOf(workOf(sequences, { ...options, numSplits }));
      sequences.forEach((sequence, b) => {
        const howOf = (items: readonly PlannedItem[]) =>
          items.map(({ rowTile, chunk, nChunks, list }) => ({ rowTile, chunk, nChunks, tile: list.tile }));
        const alone = itemsOf(workOf([sequence], { ...options, numSplits }));
        expect(howOf(batch.filter((item) => item.sequence === b))).toEqual(howOf(alone));
      });
    }
  });

  test.each([
    { sequence: [1, 32_768], traits: GPU, workgroups: 512 },
    { sequence: [1, 1_000_000], traits: GPU, workgroups: 512 },
    { sequence: [64, 32_768], traits: GPU, workgroups: 256 },
    { sequence: [1, 32_768], traits: SOFTWARE, workgroups: 16 },
  ] as const)(
    'a sequence of $sequence alone is split until it fills the device',
    ({ sequence, traits, workgroups }) => {
      const items = itemsOf(workOf([sequence], { heads: [32, 8] }, traits));
      expect(items.length * 8).toBeGreaterThan(workgroups / 2);
      expect(items.length * 8).toBeLessThan(workgroups * 2);
    },
  );

  test('short sequences are not split, nor are those that fill the device by their number', () => {
    const times = (count: number, sequence: readonly [number, number]) =>
      Array.from({ length: count }, () => sequence);
    expect(workOf(times(3, [1, 250])).nParts).toBe(0);
    expect(workOf(times(600, [1, 4000])).nParts).toBe(0);
    expect(workOf(times(20, [1, 4000]), {}, SOFTWARE).nParts).toBe(0);
    expect(workOf([[40_000, 40_000]]).nParts).toBe(0);
  });

  test('prompts beside decoding sequences do not change how those are split', () => {
    const decoding: Sequences = [
      [1, 9000],
      [1, 3000],
    ];
    expect(chunksOf(workOf([...decoding, [500, 500]])).slice(0, 2)).toEqual(chunksOf(workOf(decoding)));
  });

  test.each([
    { sequences: 8, device: 'a GPU', traits: GPU },
    { sequences: 64, device: 'a GPU', traits: GPU },
    { sequences: 300, device: 'a GPU', traits: GPU },
    { sequences: 8, device: 'a software adapter', traits: SOFTWARE },
    { sequences: 64, device: 'a software adapter', traits: SOFTWARE },
  ])(
    '$sequences sequences of 100 to 4000 keys are pieces of like length on $device',
    ({ sequences, traits }) => {
      const random = new Random(1);
      const lengths = Array.from({ length: sequences }, () => [1, random.int(100, 4001)] as const);
      const items = itemsOf(workOf(lengths, { heads: [8, 2] }, traits));
      const pieces = items.map(({ sequence, chunk, nChunks, list }) => {
        // As attention.wgsl cuts them.
        const tiles = Math.ceil(lengths[sequence]![1] / keysOf(list));
        const perChunk = Math.ceil(tiles / nChunks);
        return Math.min(perChunk, tiles - chunk * perChunk);
      });
      const mean = pieces.reduce((sum, n) => sum + n, 0) / pieces.length;
      expect(Math.min(...pieces)).toBeGreaterThan(0);
      expect(Math.max(...pieces)).toBeLessThanOrEqual(2 * mean);
    },
  );

  test('parts never take more memory than is reasonable, or than the device binds', () => {
    for (const maxBindingBytes of [2 ** 27, 2 ** 20, 2 ** 16]) {
      const traits = traitsOf({ maxBindingBytes });
      for (const { sequences, options } of randomBatches(60)) {
        const batch = batchOf(sequences, { ...options, numSplits: 0, heads: [64, 4] });
        const { nParts } = attentionWork(batch.problem, batch.lengths, traits);
        const { bytes } = splitParts(batch.problem, nParts).scratch;
        expect(bytes).toBeLessThanOrEqual(Math.min(2 ** 25, maxBindingBytes));
      }
    }
  });

  test('numSplits that needs more memory than the device binds is refused', () => {
    expect(() =>
      workOf([[1, 9000]], { numSplits: 64 }, traitsOf({ maxBindingBytes: 8192 })),
    ).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: test: numSplits = 64 needs 12784 bytes for the parts of the output; this device binds at most 8192. Pass fewer, or 0 to let it be chosen.]`,
    );
  });
});
