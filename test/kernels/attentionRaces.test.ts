import { describe, expect, test } from 'vitest';
import type { Dispatch } from '../../src/core/dispatch.js';
import { attnDecodeDispatch, type DecodeTile } from '../../src/kernels/attnDecode.js';
import type { PrefillTile } from '../../src/kernels/attnPrefill.js';
import { link } from '../../src/wgsl/link.js';
import { mergeChunksDispatch, packSplitTokens } from '../../src/kernels/mergeStates.js';
import { batchOf, type Batch } from '../plan/batch.js';
import { planCachedAttention } from '../../src/plan/planAppend.js';
import { traitsOf } from '../plan/traits.js';
import { filled, withoutPages } from './batchesOnHost.js';
import { interpret, type HostBuffers } from './interpreter.js';
import { expectReference, referenceArgs } from './referenceOnHost.js';
import { DECODE_TILE, PREFETCH_TILE, PREFILL_TILE, decodeRows, prefill, workOf } from './tinyTiles.js';

// The kernels run on the CPU, where every access to memory is noted, and give what the reference gives. Tiles are tiny,
// since this is slow, but have several of everything.

/** ms, for a busy machine. */
const SLOW = 30_000;

const CAUSAL = { heads: [2, 1], headDim: 32, masks: { right: 0 } } as const;

/** Two heads share the keys, of which there are several tiles; the last ones of rows and of keys are not full. */
function causalBatch(pageSize?: number): Batch {
  const sequences = [
    [5, 19],
    [2, 37],
  ] as const;
  return batchOf(sequences, { ...CAUSAL, ...(pageSize && { pageSize }) });
}

/** Just enough for every barrier to stand between something. */
function smallBatch(): Batch {
  return batchOf([[2, 23]], { ...CAUSAL, pageSize: 3 });
}

/** Random numbers in q and in the pages that the table names; NaN in all others. */
function filledWhereSeen(batch: Batch): HostBuffers {
  const { k, v, pages } = batch.problem;
  const buffers = filled(batch);
  const named = new Set(pages!.table as Int32Array);
  for (const { tensor, pageStride: page } of [k, v]) {
    const data = buffers.read(tensor).slice();
    for (let i = 0; i < pages!.nPages; i++) if (!named.has(i)) data.fill(NaN, i * page, (i + 1) * page);
    buffers.write(tensor, data);
  }
  return buffers;
}

function expectAttention(batch: Batch, buffers: HostBuffers): void {
  expectReference(batch, buffers, { ...referenceArgs(batch, buffers), causal: true });
}

function expectEveryBarrierNeeded(batch: Batch, dispatch: Dispatch): void {
  const barriers = link(dispatch.kernel, dispatch.spec).split('workgroupBarrier();').length - 1;
  expect(barriers).toBeGreaterThan(4);
  for (let removed = 0; removed < barriers; removed++) {
    let seen = 0;
    const without = (code: string) =>
      code.replace(/workgroupBarrier\(\);/g, (barrier) => (seen++ === removed ? '' : barrier));
    const races = interpret(dispatch, filled(batch), without);
    expect.soft(races, `without barrier ${removed + 1} of ${barriers}`).not.toEqual([]);
  }
}

interface TileCase<Tile> {
  readonly why: string;
  readonly tile: Tile;
  readonly pageSize?: number;
}

/** Tests a kernel with each of these tiles, and with one of them where pages are not there. */
function testTiles<Tile>(
  tiles: readonly TileCase<Tile>[],
  missing: Tile,
  dispatchOf: (batch: Batch, tile: Tile) => Dispatch,
): void {
  test.each(tiles)('has no race: $why', ({ tile, pageSize }) => {
    const batch = causalBatch(pageSize);
    const buffers = filled(batch);
    expect(interpret(dispatchOf(batch, tile), buffers)).toEqual([]);
    expectAttention(batch, buffers);
  });

  test.each([1, 3, 8])(
    'pages of %d that are not there: their keys are masked, and nothing of them is read',
    (pageSize) => {
      const batch = withoutPages(causalBatch(pageSize));
      const buffers = filledWhereSeen(batch);
      expect(interpret(dispatchOf(batch, missing), buffers)).toEqual([]);
      expectAttention(batch, buffers);
    },
  );
}

describe('attn_prefill', { timeout: SLOW }, () => {
  const tiles: readonly TileCase<PrefillTile>[] = [
    { why: 'queries are staged with each slice', tile: PREFILL_TILE },
    { why: 'queries stay', tile: { ...PREFILL_TILE, qResident: true } },
    { why: 'one slice, values in one step', tile: { ...PREFILL_TILE, sliceQuads: 8, valueKeys: 16 } },
    { why: 'four keys of a lane', tile: { ...PREFILL_TILE, keyQuads: 1, valueKeys: 4 } },
    { why: 'eight rows of a team, rolled loops', tile: { ...PREFILL_TILE, rows: 8, rolled: true } },
    { why: 'pages of three', tile: PREFILL_TILE, pageSize: 3 },
  ];

  testTiles(tiles, PREFILL_TILE, prefill);

  test('every barrier is needed', () => {
    const batch = smallBatch();
    expectEveryBarrierNeeded(batch, prefill(batch, PREFILL_TILE));
  });
});

describe('attn_decode', { timeout: SLOW }, () => {
  const tiles: readonly TileCase<DecodeTile>[] = [
    { why: 'two invocations share a key', tile: DECODE_TILE },
    { why: 'keys and values loaded ahead', tile: PREFETCH_TILE },
    { why: 'both rows written at once', tile: { ...PREFETCH_TILE, turnRows: 2 } },
    { why: 'values in two columns', tile: { ...DECODE_TILE, valueLanes: 2, cols: 2 } },
    { why: 'keys and values in several steps', tile: { ...DECODE_TILE, keyLanes: 1 } },
    { why: 'fewer rows than heads', tile: { ...PREFETCH_TILE, rows: 1 } },
    { why: 'rolled loops', tile: { ...DECODE_TILE, rolled: true } },
    { why: 'ahead in pages of three', tile: PREFETCH_TILE, pageSize: 3 },
    { why: 'ahead in pages of one', tile: PREFETCH_TILE, pageSize: 1 },
    { why: 'pages of three', tile: DECODE_TILE, pageSize: 3 },
  ];

  testTiles(tiles, PREFETCH_TILE, decodeRows);

  test('pages that are not there, with nothing loaded ahead', () => {
    const batch = withoutPages(causalBatch(3));
    const buffers = filledWhereSeen(batch);
    expect(interpret(decodeRows(batch, DECODE_TILE), buffers)).toEqual([]);
    expectAttention(batch, buffers);
  });

  test.each([
    { why: 'four heads, one octet for each lane', heads: [4, 1], headDim: 32, rows: 4 },
    { why: 'eight heads', heads: [8, 1], headDim: 16, rows: 8 },
    { why: 'three heads, of which a lane has none', heads: [3, 1], headDim: 32, rows: 4 },
    { why: 'a head that ends within an octet', heads: [2, 1], headDim: 20, rows: 2 },
    { why: 'a head of which lanes have nothing', heads: [1, 1], headDim: 12, rows: 1 },
  ] as const)('loaded ahead: $why', ({ heads, headDim, rows }) => {
    const batch = batchOf([[1, 27]], { heads, headDim, masks: { right: 0 }, pageSize: 3 });
    const keyLanes = Math.max(4, rows);
    const tile = { ...PREFETCH_TILE, rows, keyLanes, headOctets: keyLanes, valueLanes: keyLanes };
    const buffers = filled(batch);
    expect(interpret(decodeRows(batch, tile), buffers)).toEqual([]);
    expectAttention(batch, buffers);
  });

  test.each([
    { why: 'step by step', tile: DECODE_TILE },
    { why: 'loaded ahead', tile: PREFETCH_TILE },
  ])('every barrier is needed: $why', ({ tile }) => {
    const batch = smallBatch();
    expectEveryBarrierNeeded(batch, decodeRows(batch, tile));
  });

  test('the parts of a shared prefix and those of each sequence merge to the whole', () => {
    const sequences = [
      [1, 200],
      [2, 160],
      [0, 5],
      [1, 131],
    ] as const;
    const { problem, lengths } = batchOf(sequences, { ...CAUSAL, headDim: 8, pageSize: 16 });
    const pages = problem.pages!;
    const table = (pages.table as Int32Array).slice();
    const prefix = table.slice(0, 8);
    for (let row = 0; row < pages.nRows; row++) table.set(prefix, row * pages.width);
    const batch = { problem: { ...problem, pages: { ...pages, table } }, lengths };
    const sharing = { ...batch.problem, sharedPrefix: { nKeys: 128, table: prefix } };
    const buffers = filled(batch);
    const dispatches = planCachedAttention(sharing, lengths, traitsOf({ deviceClass: 'software' }));
    expect(dispatches.map(({ kernel }) => kernel.name)).toEqual([
      'attn_decode',
      'attn_decode',
      'attn_decode',
      'merge_states',
    ]);
    for (const dispatch of dispatches) expect(interpret(dispatch, buffers)).toEqual([]);
    expectAttention(batch, buffers);
  });

  test('each chunk writes parts of its own, which merge to the whole', () => {
    const batch = causalBatch(3);
    const { problem, lengths } = batch;
    const buffers = filled(batch);
    const work = workOf(batch, DECODE_TILE.rows, 4);
    const tokens = [...lengths.qLen].flatMap((qLen, sequence) =>
      Array.from({ length: qLen }, (_, token) => ({ sequence, token })),
    );
    const items = packSplitTokens(tokens.map((token, i) => ({ ...token, firstPart: 4 * i, nParts: 4 })));
    expect(interpret(attnDecodeDispatch(work, DECODE_TILE), buffers)).toEqual([]);
    const merge = mergeChunksDispatch({
      problem,
      batchInfo: work.batchInfo,
      items,
      parts: work.parts!,
      maxParts: 4,
      sharedParts: null,
      traits: traitsOf({}),
    });
    expect(interpret(merge, buffers)).toEqual([]);
    expectAttention(batch, buffers);
  });
});
