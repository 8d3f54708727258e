import { describe, expect, test } from 'vitest';
import type { DeviceLengths } from '../../src/problem/attentionProblem.js';
import { deviceLengths } from '../../src/problem/attentionProblem.js';
import { planWeights } from '../../src/plan/planWeights.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { batchOf, type BatchOptions } from './batch.js';
import { traitsOf } from './traits.js';

const LLAMA = { heads: [32, 8], headDim: 128, dtype: 'f16', pageSize: 16 } as const;

/** Of so many rows of one sequence. */
function planOf(nRows: number, nKeys: number, options: BatchOptions, lengths?: DeviceLengths, pace = 0) {
  const batch = batchOf([[nRows, nKeys]], options);
  const { problem: attention } = batch;
  const weights = fakeTensor('f32', [nRows, attention.nHeads, nKeys]);
  const rows = Array.from({ length: nRows }, (_, row) => ({ row, sequences: [0, 1] as const }));
  const known = { macsPerSecond: pace, bytesPerSecond: pace };
  return planWeights({ attention, nQueries: 0, rows, weights }, lengths ?? batch.lengths, traitsOf({}), {
    pace: known,
  });
}

const rangesOf = (dispatches: ReturnType<typeof planOf>) =>
  dispatches.map(({ params }) => [params['first_item'], params['end_item']]);

describe('weights', () => {
  test('of a few rows take one dispatch, of 256 keys and up to eight heads of a kv head in a workgroup', () => {
    const [dispatch, ...others] = planOf(3, 1000, LLAMA);
    expect(others).toEqual([]);
    expect(dispatch!.spec).toMatchObject({ HEADS: 4, TILE_KEYS: 256 });
    expect(dispatch!.grid).toEqual([3 * 4 * 8, 1, 1]);
  });

  test('of many rows are cut into dispatches that end in time, in order and without a gap', () => {
    const dispatches = planOf(2048, 4096, LLAMA);
    expect(dispatches.length).toBeGreaterThan(2);
    const ranges = rangesOf(dispatches);
    expect(ranges[0]![0]).toBe(0);
    expect(ranges.at(-1)![1]).toBe(2048 * 16);
    ranges.slice(1).forEach(([first], i) => expect(first).toBe(ranges[i]![1]));
    expect(planOf(2048, 4096, LLAMA, undefined, 1e14).length).toBe(1);
  });

  test('of more than eight heads take tiles of heads', () => {
    const [dispatch] = planOf(1, 10, { heads: [20, 1], headDim: 8 });
    expect(dispatch!.spec).toMatchObject({ HEADS: 8 });
    expect(dispatch!.grid).toEqual([3, 1, 1]);
  });

  test('come after what gathers lengths and rotates queries', () => {
    const lengths = deviceLengths({
      cuSeqlensQ: fakeTensor('i32', [2]),
      nCached: fakeTensor('i32', [1]),
      totalQ: 1,
      keysInRows: true,
      totalK: 10,
      nRows: 1,
      maxSeqlenQ: 1,
      maxSeqlenK: 10,
    });
    const angles = new Float32Array(40);
    const rotary = {
      cos: angles,
      sin: angles,
      nPositions: 10,
      pairs: 4,
      interleaved: true,
      queriesAdvance: true,
    };
    const dispatches = planOf(1, 10, { headDim: 8, pageSize: 2, rotary }, lengths);
    expect(dispatches.map(({ kernel }) => kernel.name)).toEqual([
      'gather_lengths',
      'append_kv',
      'attn_weights',
    ]);
    expect(dispatches[2]!.bindings['q']).toBe(dispatches[1]!.bindings['rotated_q']);
  });
});
