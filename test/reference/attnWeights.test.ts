import { describe, expect, test } from 'vitest';
import {
  attnReference,
  attnVarlenReference,
  attnWeightsReference,
  attnWithKvCacheReference,
} from '../../src/reference/attention.js';
import { Random } from '../../tools/random.js';
import { refusal } from '../check/refusal.js';
import { randomDense, randomTensor, tensor } from './hostTensors.js';
import { expectNear } from './near.js';

const { exp, log } = Math;

describe('weights by hand', () => {
  // Scores of the keys are 0, ln 2 and ln 5.
  const q = tensor([1, 1, 1], [1]);
  const k = tensor([3, 1, 1], [0, log(2), log(5)]);
  const args = { q, k, cuSeqlensQ: [0, 1], cuSeqlensK: [0, 3], softmaxScale: 1, rows: [0] };
  const weightsOf = (change: object, lse: number) => [
    ...attnWeightsReference({ ...args, ...change, lse: tensor([1, 1], [lse]) }).data,
  ];

  test('are exp(score − lse)', () => {
    expectNear(weightsOf({}, log(8)), [1 / 8, 2 / 8, 5 / 8]);
  });

  test('of keys that the row does not see are 0', () => {
    expectNear(weightsOf({ windowSize: [1, -1] }, log(7)), [0, 2 / 7, 5 / 7]);
    expectNear(weightsOf({ sequsedK: [2] }, log(3)), [1 / 3, 2 / 3]);
  });

  test('sum up to less than 1 with a sink, which is in lse', () => {
    expectNear(weightsOf({}, log(16)), [1 / 16, 2 / 16, 5 / 16]);
  });

  test('are 0 if the row sees no key, and beyond the keys of its sequence', () => {
    expect(weightsOf({}, -Infinity)).toEqual([0, 0, 0]);
    expectNear(weightsOf({ nKeys: 5 }, log(8)), [1 / 8, 2 / 8, 5 / 8, 0, 0]);
  });

  test('have softcap and ALiBi', () => {
    const capped = (s: number) => 2 * Math.tanh(s / 2);
    expectNear(
      weightsOf({ softcap: 2 }, 1),
      [0, log(2), log(5)].map((s) => exp(capped(s) - 1)),
    );
    expectNear(
      weightsOf({ alibiSlopes: [3] }, 1),
      [0, log(2), log(5)].map((s, j) => exp(s - 3 * (2 - j) - 1)),
    );
  });

  test('of rows that belong to no sequence are 0', () => {
    const padded = { ...args, q: tensor([2, 1, 1], [1, 1]), rows: [1, 0] };
    const lse = tensor([1, 2], [log(8), 0]);
    expectNear(attnWeightsReference({ ...padded, lse }).data, [0, 0, 0, 1 / 8, 2 / 8, 5 / 8]);
  });

  test('an lse of another shape is refused', () => {
    expect(
      refusal(() => attnWeightsReference({ ...args, lse: tensor([2, 1], [0, 0]) })),
    ).toMatchInlineSnapshot(`"shape: attnWeights: lse is [2,1], but must be [1,1]."`);
  });
});

describe('values weighed make the output', () => {
  const random = new Random(1);
  const options = { causal: true, windowSize: [9, -1], softcap: 3, attentionChunk: 7 } as const;

  /** Σ_j weights[i, h, j] · v[j] of one sequence and one kv head. */
  function weigh(weights: ArrayLike<number>, v: ArrayLike<number>, nKeys: number, size: number): number[] {
    return Array.from({ length: (weights.length / nKeys) * size }, (_, at) => {
      const row = Math.floor(at / size);
      let sum = 0;
      for (let j = 0; j < nKeys; j++) sum += weights[row * nKeys + j]! * v[j * size + (at % size)]!;
      return sum;
    });
  }

  test('of a dense batch', () => {
    const { q, k, v } = randomDense(random, { b: 1, sq: 5, sk: 20, nHeads: 2, nKvHeads: 1, d: 8, dv: 6 });
    const all = { ...options, alibiSlopes: [0.1, 0.3] };
    const { out, lse } = attnReference({ q, k, v, ...all, sinks: [1, -1] });
    const weights = attnWeightsReference({ q, k, ...all, lse, rows: [0, 1, 2, 3, 4] });
    expect(weights.shape).toEqual([5, 2, 20]);
    expectNear(weigh(weights.data, v.data, 20, 6), out.data);
  });

  test('of a sequence in pages', () => {
    const q = randomTensor(random, [3, 2, 8]);
    const [k, v] = [randomTensor(random, [4, 4, 1, 8]), randomTensor(random, [4, 4, 1, 6])];
    const paged = { cuSeqlensQ: [0, 3], sequsedK: [10], blockTable: [2, 0, 3] };
    const { out, lse } = attnVarlenReference({ q, k, v, ...paged, ...options });
    const weights = attnWeightsReference({ q, k, ...paged, ...options, lse, rows: [2, 0, 1] });
    const inOrder = [2, 0, 3].flatMap((page) => [...v.data.subarray(page * 24, page * 24 + 24)]);
    const rows = weigh(weights.data, inOrder, 10, 6);
    expectNear(rows.slice(12), out.data.subarray(0, 24));
    expectNear(rows.slice(0, 12), out.data.subarray(24));
  });

  test('of a cache with new tokens, whose queries are rotated', () => {
    const q = randomTensor(random, [1, 2, 2, 8]);
    const [kCache, vCache] = [randomTensor(random, [1, 16, 1, 8]), randomTensor(random, [1, 16, 1, 6])];
    const [k, v] = [randomTensor(random, [1, 2, 1, 8]), randomTensor(random, [1, 2, 1, 6])];
    const angles = randomTensor(random, [16, 4]);
    const args = {
      q,
      k,
      cacheSeqlens: [9],
      cacheLeftpad: [2],
      rotaryCos: angles,
      rotarySin: { ...angles, data: angles.data.map(Math.sin) },
      ...options,
    };
    const after = attnWithKvCacheReference({ ...args, v, kCache, vCache });
    const weights = attnWeightsReference({ ...args, kCache: after.kCache, lse: after.lse, rows: [0, 1] });
    expectNear(weigh(weights.data, after.vCache.data, 11, 6), after.out.data);
  });
});
