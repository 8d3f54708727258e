import { describe, expect, test } from 'vitest';
import type { Dispatch, Scratch } from '../../src/core/dispatch.js';
import { gatherTokensDispatch } from '../../src/kernels/gatherTokens.js';
import { batchInfoLayout, hostBatchInfo, sequencePlaces } from '../../src/kernels/shared/batchInfo.js';
import { planWeights } from '../../src/plan/planWeights.js';
import type { Rotary } from '../../src/problem/attentionProblem.js';
import { attnVarlenReference, attnWeightsReference } from '../../src/reference/attention.js';
import { Random } from '../../tools/random.js';
import { drawTokens, type TokensCase } from '../attention/tokenInputs.js';
import { batchOf, type Batch, type BatchOptions } from '../plan/batch.js';
import { traitsOf } from '../plan/traits.js';
import { checkWeights } from '../reference/tolerance.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { filled, GRID, NO_ITEMS } from './batchesOnHost.js';
import { interpret, type HostBuffers } from './interpreter.js';
import { expectReference, referenceArgs } from './referenceOnHost.js';
import { DECODE_TILE, PREFETCH_TILE, PREFILL_TILE, decodeRows, prefill } from './tinyTiles.js';

// Kernels with positions and trees of query tokens run on the CPU, where every access to memory is noted.

/** ms, for a busy machine. */
const SLOW = 30_000;

const SEQUENCES = [
  [5, 19],
  [3, 37],
  [6, 4],
] as const;

type MaskCase = TokensCase & Pick<BatchOptions, 'masks' | 'pageSize'> & { readonly why: string };

const CASES: readonly MaskCase[] = [
  { why: 'a tree', tree: 'branches' },
  { why: 'a tree, a window', tree: 'branches', masks: { left: 9, right: 2 }, pageSize: 3 },
  { why: 'positions in order', positions: 'rising', masks: { left: 6, causal: true } },
  { why: 'positions in no order', positions: 'any', masks: { left: 6, right: 1, causal: true } },
  { why: 'positions in no order, chunks', positions: 'any', masks: { attentionChunk: 7 }, pageSize: 3 },
  { why: 'both', positions: 'rising', tree: 'branches', masks: { left: 6, attentionChunk: 11 } },
  { why: 'a tree, first keys', tree: 'branches', masks: { left: 4, firstKeys: 3, causal: true } },
  {
    why: 'a tree, first keys that reach into it',
    tree: 'branches',
    masks: { left: 2, right: 0, firstKeys: 16 },
    pageSize: 3,
  },
  {
    why: 'positions in order, first keys',
    positions: 'rising',
    masks: { left: 5, firstKeys: 9, causal: true },
    pageSize: 3,
  },
  {
    why: 'positions in no order, first keys that reach into them',
    positions: 'any',
    masks: { left: 3, right: 0, firstKeys: 16, causal: true },
  },
  {
    why: 'both, first keys',
    positions: 'any',
    tree: 'branches',
    masks: { attentionChunk: 5, firstKeys: 6 },
  },
];

function batchFor({ masks, pageSize, ...tokens }: MaskCase): Batch {
  const { positions, treeMask } = drawTokens(new Random(5), tokens, SEQUENCES);
  return batchOf(SEQUENCES, {
    heads: [2, 1],
    headDim: 32,
    ...(masks && { masks }),
    ...(pageSize && { pageSize }),
    tokens: {
      ...(positions && { positions }),
      ...(treeMask && { tree: treeMask }),
    },
  });
}

function argsOf(batch: Batch, buffers: HostBuffers) {
  const { masks } = batch.problem;
  const { positions, tree } = batch.lengths.tokens!;
  return {
    ...referenceArgs(batch, buffers),
    causal: masks.causal,
    windowSize: [masks.left, masks.right] as const,
    attentionChunk: masks.attentionChunk,
    firstKeys: masks.firstKeys,
    ...(positions && { positions: positions as Int32Array }),
    ...(tree && { treeMask: tree as Uint32Array }),
  };
}

function expectAttention(batch: Batch, dispatch: Dispatch): void {
  const buffers = filled(batch);
  expect(interpret(dispatch, buffers)).toEqual([]);
  expectReference(batch, buffers, argsOf(batch, buffers));
}

describe('masks by token', { timeout: SLOW }, () => {
  test.each(CASES)('attn_prefill: $why', (maskCase) => {
    const batch = batchFor(maskCase);
    expectAttention(batch, prefill(batch, PREFILL_TILE));
  });

  test.each(CASES)('attn_decode: $why', (maskCase) => {
    const batch = batchFor(maskCase);
    expectAttention(batch, decodeRows(batch, DECODE_TILE));
    expectAttention(batch, decodeRows(batch, PREFETCH_TILE));
  });

  test.each(CASES)('attn_weights: $why', (maskCase) => {
    const batch = batchFor(maskCase);
    const { problem, lengths } = batch;
    const buffers = filled(batch);
    const args = argsOf(batch, buffers);
    const { lse } = attnVarlenReference(args);
    buffers.write(problem.lse!.tensor, Float32Array.from(lse.data));
    const rows = [4, 0, 6, 13, 9];
    const want = attnWeightsReference({ ...args, rows, lse });
    const weights = fakeTensor('f32', want.shape);
    const { out: _out, v: _v, headDimV: _headDimV, ...attention } = problem;
    const chosen = rows.map((row) => ({ row, sequences: [0, 3] as const }));
    const dispatches = planWeights({ attention, nQueries: 0, rows: chosen, weights }, lengths, traitsOf({}));
    for (const dispatch of dispatches) expect(interpret(dispatch, buffers)).toEqual([]);
    checkWeights({ actual: buffers.read(weights), reference: want.data }, lse.data);
  });
});

describe('gather_tokens', { timeout: SLOW }, () => {
  /** What it makes of what the host has written, but for what it has to write itself. */
  function gathered(batch: Batch, edit?: (code: string) => string) {
    const { problem, lengths } = batch;
    const want = hostBatchInfo(problem, lengths, NO_ITEMS);
    const { tokensAt } = batchInfoLayout(problem);
    const batchInfo: Scratch = { scratch: 'batch info', bytes: want.byteLength };
    const buffers = filled(batch);
    new Uint32Array(buffers.contentsOf(batchInfo)).set(want.subarray(0, tokensAt));
    const dispatch = gatherTokensDispatch({
      problem,
      tokens: lengths.tokens!,
      starts: lengths.qStart,
      batchInfo,
      ...GRID,
    });
    const races = interpret(dispatch, buffers, edit);
    return { races, want: [...want], got: [...new Uint32Array(buffers.contentsOf(batchInfo))] };
  }

  test.each(CASES)('writes what the host does: $why', (maskCase) => {
    const { races, want, got } = gathered(batchFor(maskCase));
    expect(races).toEqual([]);
    expect(got).toEqual(want);
  });

  const rotary: Rotary = {
    cos: new Float32Array(40),
    sin: new Float32Array(40),
    nPositions: 40,
    pairs: 1,
    interleaved: true,
    queriesAdvance: true,
  };

  /** Of three sequences, those that keep their keys. */
  function kept(positions: readonly number[], newTokens: readonly number[], edit?: (code: string) => string) {
    const batch = batchOf(SEQUENCES, {
      newTokens,
      rotary,
      tokens: { positions: Int32Array.from(positions) },
    });
    const { got } = gathered(batch, edit);
    const { words, k_len, n_cached, first_key } = sequencePlaces();
    const record = (b: number) => [k_len, n_cached, first_key].map((word) => got[b * words + word]);
    const whole = (b: number) => [SEQUENCES[b]![1], SEQUENCES[b]![1] - newTokens[b]!, 0].join();
    return SEQUENCES.map((_, b) => {
      if (record(b).join() === whole(b)) return true;
      expect(record(b)).toEqual([0, 0, 0]);
      return false;
    });
  }

  const inside = [0, 39, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

  test.each([
    {
      why: 'positions that the tables have',
      positions: inside,
      newTokens: [5, 3, 4],
      want: [true, true, true],
    },
    { why: 'one beyond', positions: inside.with(0, 40), newTokens: [5, 3, 4], want: [false, true, true] },
    { why: 'one below 0', positions: inside.with(13, -1), newTokens: [5, 3, 4], want: [true, true, false] },
    {
      why: 'more new tokens than queries',
      positions: inside,
      newTokens: [5, 4, 0],
      want: [true, false, true],
    },
  ])('$why: such sequences keep their keys: $want', ({ positions, newTokens, want }) => {
    expect(kept(positions, newTokens)).toEqual(want);
  });

  test('every barrier is needed', () => {
    // One at a time, invocations run to the next barrier. What races are atomics, so only results tell.
    const without = (removed: number) => (code: string) => {
      let seen = 0;
      return code.replace(/workgroupBarrier\(\);/g, (barrier) => (seen++ === removed ? '' : barrier));
    };
    expect(kept(inside.with(0, 40), [5, 3, 4], without(0))).not.toEqual([false, true, true]);
    expect(kept(inside.with(4, 40), [5, 3, 4], without(1))).not.toEqual([false, true, true]);
  });
});
