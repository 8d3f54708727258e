import { describe, expect, test } from 'vitest';
import { attnWithKvCacheReference, type HostTensor } from '../../src/reference/attention.js';
import { rowsOf, tensor } from './hostTensors.js';
import { expectNear } from './near.js';
import { picture } from './byHand.js';

const { exp, log, sqrt } = Math;

/** Angles 0°, 90°, 180°, 270°, one per position, for the given number of pairs. */
function quarterTurns(nPairs: number): { readonly rotaryCos: HostTensor; readonly rotarySin: HostTensor } {
  const everyPair = (values: readonly number[]): HostTensor =>
    tensor(
      [4, nPairs],
      values.flatMap((value) => Array<number>(nPairs).fill(value)),
    );
  return { rotaryCos: everyPair([1, 0, -1, 0]), rotarySin: everyPair([0, 1, 0, -1]) };
}

describe('append', () => {
  test('new token t goes to slot cacheSeqlens + t and is visible; the arguments do not change', () => {
    const kCache = tensor([1, 4, 1, 1], [0, NaN, NaN, NaN]);
    const vCache = tensor([1, 4, 1, 1], [3, NaN, NaN, NaN]);
    const result = attnWithKvCacheReference({
      q: tensor([1, 1, 1, 1], [1]),
      kCache,
      vCache,
      k: tensor([1, 2, 1, 1], [0, log(2)]),
      v: tensor([1, 2, 1, 1], [5, 6]),
      cacheSeqlens: [1],
      causal: true,
    });
    expectNear(result.kCache.data, [0, 0, Math.fround(log(2)), NaN]);
    expectNear(result.vCache.data, [3, 5, 6, NaN]);
    expect(result.lse.data[0]).toBeCloseTo(log(4), 6);
    expect(result.out.data[0]).toBeCloseTo((3 + 5 + 2 * 6) / 4, 6);
    expect([...kCache.data, ...vCache.data]).toEqual([0, NaN, NaN, NaN, 3, NaN, NaN, NaN]);
  });

  test('fewer new tokens than queries: positions count from the end of all keys', () => {
    const { out } = attnWithKvCacheReference({
      q: tensor([1, 3, 1, 1], [0, 0, 0]),
      kCache: tensor([1, 3, 1, 1], [0, 0, NaN]),
      vCache: tensor([1, 3, 1, 3], [1, 0, 0, 0, 1, 0, NaN, NaN, NaN]),
      k: tensor([1, 1, 1, 1], [0]),
      v: tensor([1, 1, 1, 3], [0, 0, 1]),
      cacheSeqlens: [2],
      causal: true,
    });
    expect(picture(rowsOf(out))).toEqual(['x..', 'xx.', 'xxx']);
  });

  test('new tokens are scattered through the block table', () => {
    const { kCache } = attnWithKvCacheReference({
      q: tensor([2, 1, 1, 1], [1, 1]),
      kCache: tensor([4, 2, 1, 1], [NaN, NaN, NaN, NaN, 7, NaN, NaN, NaN]),
      vCache: tensor([4, 2, 1, 1], [NaN, NaN, NaN, NaN, 7, NaN, NaN, NaN]),
      k: tensor([2, 2, 1, 1], [1, 2, 3, 4]),
      v: tensor([2, 2, 1, 1], [1, 2, 3, 4]),
      cacheSeqlens: [1, 0],
      blockTable: [2, 0, 3, 1],
    });
    expect([...kCache.data]).toEqual([2, NaN, NaN, NaN, 7, 1, 3, 4]);
  });

  test('cacheBatchIdx picks the row of the cache', () => {
    const { out, vCache } = attnWithKvCacheReference({
      q: tensor([2, 1, 1, 1], [0, 0]),
      kCache: tensor([3, 2, 1, 1], [0, NaN, NaN, NaN, 0, NaN]),
      vCache: tensor([3, 2, 1, 1], [2, NaN, NaN, NaN, 6, NaN]),
      k: tensor([2, 1, 1, 1], [0, 0]),
      v: tensor([2, 1, 1, 1], [10, 20]),
      cacheSeqlens: [1, 1],
      cacheBatchIdx: [2, 0],
    });
    expectNear(out.data, [(6 + 10) / 2, (2 + 20) / 2]);
    expect([...vCache.data]).toEqual([2, 20, NaN, NaN, 6, 10]);
  });

  test('with a block table, cacheBatchIdx picks the row of the block table', () => {
    const { out } = attnWithKvCacheReference({
      q: tensor([2, 1, 1, 1], [0, 0]),
      kCache: tensor([3, 1, 1, 1], [0, 0, 0]),
      vCache: tensor([3, 1, 1, 1], [10, 20, 30]),
      cacheSeqlens: [1, 1],
      blockTable: [1, 2, 0],
      blockTableRows: 3,
      cacheBatchIdx: [2, 1],
    });
    expect([...out.data]).toEqual([10, 30]);
  });

  test.each([
    { nPairs: 2, rotaryInterleaved: true, want: [-2, 1, -4, 3], why: 'pairs (2t, 2t + 1)' },
    { nPairs: 2, rotaryInterleaved: false, want: [-3, -4, 1, 2], why: 'pairs (t, t + rotaryDim/2)' },
    { nPairs: 1, rotaryInterleaved: true, want: [-2, 1, 3, 4], why: 'half of the head, neighbours' },
    { nPairs: 1, rotaryInterleaved: false, want: [-2, 1, 3, 4], why: 'half of the head, halves' },
  ])('a quarter turn, $why', ({ nPairs, rotaryInterleaved, want }) => {
    const { kCache, vCache } = attnWithKvCacheReference({
      q: tensor([1, 1, 1, 4], [0, 0, 0, 0]),
      kCache: tensor([1, 2, 1, 4], [9, 9, 9, 9, NaN, NaN, NaN, NaN]),
      vCache: tensor([1, 2, 1, 4], [9, 9, 9, 9, NaN, NaN, NaN, NaN]),
      k: tensor([1, 1, 1, 4], [1, 2, 3, 4]),
      v: tensor([1, 1, 1, 4], [1, 2, 3, 4]),
      cacheSeqlens: [1],
      ...quarterTurns(nPairs),
      rotaryInterleaved,
    });
    expectNear(kCache.data, [9, 9, 9, 9, ...want]);
    expect([...vCache.data]).toEqual([9, 9, 9, 9, 1, 2, 3, 4]);
  });

  test('pairs are interleaved by default, and each pair has its angle', () => {
    const { kCache } = attnWithKvCacheReference({
      q: tensor([1, 1, 1, 4], [0, 0, 0, 0]),
      kCache: tensor([1, 1, 1, 4], [NaN, NaN, NaN, NaN]),
      vCache: tensor([1, 1, 1, 4], [NaN, NaN, NaN, NaN]),
      k: tensor([1, 1, 1, 4], [1, 2, 3, 4]),
      v: tensor([1, 1, 1, 4], [1, 2, 3, 4]),
      cacheSeqlens: [0],
      rotaryCos: tensor([1, 2], [0, -1]),
      rotarySin: tensor([1, 2], [1, 0]),
    });
    expectNear(kCache.data, [-2, 1, -3, -4]);
  });

  const turned = {
    q: tensor([1, 2, 1, 2], [1, 0, 1, 0]),
    kCache: tensor([1, 3, 1, 2], [1, 0, NaN, NaN, NaN, NaN]),
    vCache: tensor([1, 3, 1, 2], [1, 0, NaN, NaN, NaN, NaN]),
    cacheSeqlens: [1],
    softmaxScale: 1,
    ...quarterTurns(1),
  };

  test('causal queries and new keys are rotated by their positions', () => {
    const { kCache, lse } = attnWithKvCacheReference({
      ...turned,
      k: tensor([1, 2, 1, 2], [1, 0, 1, 0]),
      v: tensor([1, 2, 1, 2], [1, 0, 1, 0]),
      causal: true,
    });
    expectNear(kCache.data, [1, 0, 0, 1, -1, 0]);
    // The queries are (0, 1) and (−1, 0): what counts is the angle between a query and a key.
    expectNear(lse.data, [log(exp(0) + exp(1)), log(exp(-1) + exp(0) + exp(1))]);
  });

  test.each([
    { windowSize: [9, 9], want: [0, -1], why: 'windowed: at positions 1 and 2, like causal ones' },
    { windowSize: [-1, 9], want: [0, -1], why: 'a window open on one side' },
    { windowSize: [-1, -1], want: [0, 0], why: 'neither: both at position 1' },
  ] as const)('queries $why', ({ windowSize, want }) => {
    expectNear(attnWithKvCacheReference({ ...turned, windowSize }).lse.data, want);
  });

  test('leftpad does not shift rotary positions', () => {
    const { lse } = attnWithKvCacheReference({
      ...turned,
      kCache: tensor([1, 3, 1, 2], [NaN, NaN, 1, 0, NaN, NaN]),
      vCache: tensor([1, 3, 1, 2], [NaN, NaN, 1, 0, NaN, NaN]),
      cacheSeqlens: [2],
      cacheLeftpad: [1],
    });
    expectNear(lse.data, [-1, -1]);
  });

  test.each([
    { dtype: 'f16', want: 0.70703125 },
    { dtype: 'bf16', want: 0.70703125 },
    { dtype: 'f32', want: 0.7071067690849304 },
  ] as const)('a rotated key is rounded once, to $dtype', ({ dtype, want }) => {
    const { kCache } = attnWithKvCacheReference({
      ...turned,
      q: tensor([1, 1, 1, 2], [1, 0]),
      k: tensor([1, 1, 1, 2], [1, 0]),
      v: tensor([1, 1, 1, 2], [1, 0]),
      rotaryCos: tensor([2, 1], [0, sqrt(0.5)]),
      rotarySin: tensor([2, 1], [0, sqrt(0.5)]),
      dtype,
    });
    expect([...kCache.data].slice(2, 4)).toEqual([want, want]);
  });
});
