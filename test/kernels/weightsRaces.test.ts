import { describe, expect, test } from 'vitest';
import type { Dispatch } from '../../src/core/dispatch.js';
import { planWeights } from '../../src/plan/planWeights.js';
import { attnVarlenReference, attnWeightsReference } from '../../src/reference/attention.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { batchOf, type Batch, type BatchOptions } from '../plan/batch.js';
import { traitsOf } from '../plan/traits.js';
import { checkWeights } from '../reference/tolerance.js';
import { filled, withoutPages } from './batchesOnHost.js';
import { interpret, type HostBuffers } from './interpreter.js';
import { referenceArgs } from './referenceOnHost.js';

// The kernel runs on the CPU, where every access to memory is noted, and gives what the reference gives.

/** ms, for a busy machine. */
const SLOW = 30_000;

/** Two sequences of 3 and of 2 queries; a tile has 256 keys. */
const SEQUENCES = [
  [3, 19],
  [2, 301],
] as const;

/** Every row but one, and one twice. */
const ROWS = [4, 0, 2, 3, 0];

/** The dispatch for the rows, and what it should write. */
function weightsOf(batch: Batch, buffers: HostBuffers, sequences = [0, 0, 0, 1, 1].map((b) => [b, b + 1])) {
  const { problem, lengths } = batch;
  const { left, right } = problem.masks;
  const args = { ...referenceArgs(batch, buffers), windowSize: [left, right] as const };
  const { lse } = attnVarlenReference(args);
  buffers.write(problem.lse!.tensor, Float32Array.from(lse.data));
  const want = attnWeightsReference({ ...args, rows: ROWS, lse });
  const weights = fakeTensor('f32', want.shape);
  const rows = ROWS.map((row) => ({ row, sequences: sequences[row] as [number, number] }));
  const { out: _out, v: _v, headDimV: _headDimV, ...attention } = problem;
  const [dispatch, ...others] = planWeights(
    { attention, nQueries: 0, rows, weights },
    lengths,
    traitsOf({}),
  ) as [Dispatch];
  expect(others).toEqual([]);
  return { dispatch, weights, want, lse };
}

function expectWeights(batch: Batch, sequences?: number[][]): void {
  const buffers = filled(batch);
  const { dispatch, weights, want, lse } = weightsOf(batch, buffers, sequences);
  buffers.write(weights, new Float32Array(want.data.length).fill(NaN));
  expect(interpret(dispatch, buffers)).toEqual([]);
  checkWeights({ actual: buffers.read(weights), reference: want.data }, lse.data);
}

const CASES: readonly (BatchOptions & { readonly why: string })[] = [
  { why: 'one head', headDim: 16 },
  { why: 'two heads share the keys', heads: [4, 2], headDim: 8 },
  { why: 'three heads, of which a workgroup has room for four', heads: [3, 1], headDim: 8 },
  { why: 'more heads than a workgroup takes', heads: [9, 1], headDim: 8 },
  { why: 'a head that ends within an octet', heads: [2, 1], headDim: 13 },
  { why: 'halves', heads: [2, 1], headDim: 8, dtype: 'f16', kvDType: 'bf16' },
  { why: 'a window', headDim: 8, masks: { left: 20, right: 3 } },
  { why: 'pages of three', heads: [2, 1], headDim: 8, pageSize: 3, masks: { right: 0 } },
  { why: 'pages of one', headDim: 8, pageSize: 1 },
];

describe('attn_weights', { timeout: SLOW }, () => {
  test.each(CASES)('has no race, and writes every weight: $why', ({ why: _why, ...options }) => {
    expectWeights(batchOf(SEQUENCES, options));
  });

  test('finds the sequence of a row itself', () => {
    const empty = [0, 0, 1].map((n) => [n, 5] as const);
    const batch = batchOf([...empty, ...SEQUENCES, [0, 9]], { headDim: 8 });
    // Rows 0 to 5: one of the third sequence, then those of SEQUENCES.
    expectWeights(
      batch,
      ROWS.map(() => [0, 6]),
    );
  });

  test('pages that are not there: their keys have no weight', () => {
    expectWeights(withoutPages(batchOf(SEQUENCES, { headDim: 8, pageSize: 3 })));
  });

  test('its barrier is needed', () => {
    const buffers = filled(batchOf(SEQUENCES, CASES[1]));
    const { dispatch } = weightsOf(batchOf(SEQUENCES, CASES[1]), buffers);
    const without = (code: string) => code.replace('workgroupBarrier();', '');
    expect(interpret(dispatch, buffers, without)).not.toEqual([]);
  });
});
