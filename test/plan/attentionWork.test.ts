import { describe, expect, test } from 'vitest';
import { attentionWork } from '../../src/plan/attentionWork.js';
import { batchOf, type BatchOptions } from './batch.js';
import { GPU, itemsOf, kernelOf, randomBatches, rowsOf, SOFTWARE, workOf, type Sequences } from './work.js';

describe('which kernel takes a sequence', () => {
  test.each([
    { nQueries: 1, heads: [1, 1], kernel: 'attn_decode', why: 'one token' },
    { nQueries: 1, heads: [64, 1], kernel: 'attn_decode', why: 'one token of however many heads' },
    { nQueries: 4, heads: [4, 1], kernel: 'attn_decode', why: '16 rows' },
    { nQueries: 16, heads: [8, 8], kernel: 'attn_decode', why: '16 rows of each kv head' },
    { nQueries: 17, heads: [8, 8], kernel: 'attn_prefill', why: 'more rows' },
    { nQueries: 2, heads: [9, 1], kernel: 'attn_prefill', why: 'two tokens of more rows' },
  ] as const)('$kernel: $why', ({ nQueries, heads, kernel }) => {
    const { lists } = workOf([[nQueries, 100]], { heads });
    expect(lists.map(kernelOf)).toEqual([kernel]);
  });

  test('a batch has one work list for each tile, and for each whether its keys are split', () => {
    const sequences: Sequences = [
      [1, 60],
      [40, 200],
      [2, 7],
      [1, 30],
      [1, 9000],
    ];
    const { lists } = workOf(sequences, { heads: [4, 1], numSplits: 2 });
    expect(lists.map((list) => [kernelOf(list), rowsOf(list), list.split])).toEqual([
      ['attn_decode', 4, false],
      ['attn_prefill', 64, true],
      ['attn_decode', 8, false],
      ['attn_decode', 4, true],
    ]);
  });
});

describe('items', () => {
  /** (sequence, row tile, tiles of keys) of prefills that are not split. */
  const prefillItems = (sequences: Sequences, options: BatchOptions = {}) =>
    itemsOf(workOf(sequences, { numSplits: 1, ...options }, SOFTWARE)).map(
      ({ sequence, rowTile, keyTiles }) => [sequence, rowTile, keyTiles],
    );

  test('heaviest first, equals in order', () => {
    const sequences: Sequences = [
      [64, 64],
      [40, 200],
      [0, 50],
    ];
    expect(prefillItems(sequences)).toEqual([
      [1, 0, 13],
      [1, 1, 13],
      [0, 0, 4],
      [0, 1, 4],
    ]);
  });

  test('causal order spares the tiles above the diagonal', () => {
    expect(prefillItems([[96, 96]], { masks: { right: 0 } })).toEqual([
      [0, 2, 6],
      [0, 1, 4],
      [0, 0, 2],
    ]);
  });

  test('windows and chunks spare tiles on both sides', () => {
    expect(prefillItems([[32, 320]], { masks: { left: 40, right: 0 } })).toEqual([[0, 0, 5]]);
    expect(prefillItems([[32, 320]], { masks: { right: 0, attentionChunk: 64 } })).toEqual([[0, 0, 4]]);
  });

  test('keys hidden at the start spare tiles', () => {
    const { problem, lengths } = batchOf([[32, 320]]);
    const padded = { ...lengths, firstKey: Int32Array.of(100) };
    expect(Array.from(attentionWork(problem, padded, SOFTWARE).lists[0]!.keyTiles)).toEqual([14]);
  });

  test('the heads of a list are rows', () => {
    expect(prefillItems([[20, 32]], { heads: [4, 1] })).toEqual([
      [0, 0, 2],
      [0, 1, 2],
      [0, 2, 2],
    ]);
  });

  test('rows that see no key are items all the same, since they must be written', () => {
    expect(prefillItems([[40, 0]])).toEqual([
      [0, 0, 0],
      [0, 1, 0],
    ]);
    expect(itemsOf(workOf([[1, 0]])).map(({ keyTiles }) => keyTiles)).toEqual([0]);
  });

  test.each([
    { device: 'a GPU', traits: GPU },
    { device: 'a software adapter', traits: SOFTWARE },
  ])('cover every tile of rows and every chunk of keys once, on $device', ({ traits }) => {
    for (const { sequences, options } of randomBatches(100)) {
      const work = workOf(sequences, options, traits);
      const list = options.heads![0] / options.heads![1];
      const items = itemsOf(work);
      const want = sequences.flatMap(([nQueries], sequence) => {
        const own = items.find((item) => item.sequence === sequence);
        if (!own) return [];
        const nTiles = Math.ceil((nQueries * list) / rowsOf(own.list));
        return Array.from({ length: nTiles * own.nChunks }, (_, i) =>
          [sequence, Math.floor(i / own.nChunks), i % own.nChunks, own.nChunks].join(),
        );
      });
      const got = items.map(({ sequence, rowTile, chunk, nChunks }) =>
        [sequence, rowTile, chunk, nChunks].join(),
      );
      expect(got.toSorted()).toEqual(want.toSorted());
      expect(new Set(items.map(({ sequence }) => sequence)).size).toBe(
        sequences.filter(([n]) => n > 0).length,
      );
      for (const { keyTiles, split } of work.lists) {
        expect(keyTiles).toEqual(keyTiles.toSorted((a, b) => b - a));
        expect(split).toBe(items.find((item) => item.list.keyTiles === keyTiles)!.nChunks > 1);
      }
    }
  });
});
