import { describe, expect, test } from 'vitest';
import { roundTo } from '../../src/core/dtype.js';
import { attnReference } from '../../src/reference/attention.js';
import { randomDense, tensor } from './hostTensors.js';
import { expectNear } from './near.js';
import { Random } from '../../tools/random.js';
import { attnByHand, weightsByHand } from './byHand.js';

const { exp, log, sqrt, tanh } = Math;

describe('softmax', () => {
  test('one key has all the weight, and its score is the lse', () => {
    const { out, lse } = attnByHand({ q: [3], k: [2], v: [7] });
    expectNear(out.data, [7]);
    expectNear(lse.data, [6]);
  });

  test('two equal keys have half the weight each, whatever their score', () => {
    const { out, lse } = attnByHand({ q: [1], k: [5, 5], v: [2, 4] });
    expectNear(out.data, [3]);
    expectNear(lse.data, [5 + log(2)]);
  });

  test('scores 0 and ln 3 weigh 1 : 3', () => {
    const { out, lse } = attnByHand({ q: [1], k: [0, log(3)], v: [0, 4] });
    expectNear(out.data, [3]);
    expectNear(lse.data, [log(4)]);
  });

  test('the scale is 1/√D unless softmaxScale is passed', () => {
    const ones = tensor([1, 1, 1, 4], [1, 1, 1, 1]);
    expectNear(attnReference({ q: ones, k: ones, v: ones }).lse.data, [4 / sqrt(4)]);
    expectNear(attnReference({ q: ones, k: ones, v: ones, softmaxScale: 0.25 }).lse.data, [1]);
  });

  test('scores beyond the range of exp do not overflow', () => {
    const { out, lse } = attnByHand({ q: [1, -1], k: [3e5, -3e5], v: [2, 4] });
    expectNear(out.data, [2, 4]);
    expectNear(lse.data, [3e5, 3e5]);
  });

  test('one key far above the rest has all the weight', () => {
    expect(weightsByHand({ q: [1], k: [0, 900, 0] })).toEqual([[0, 1, 0]]);
  });
});

describe('scores', () => {
  test('the softcap c turns the scaled score s into c·tanh(s/c)', () => {
    expectNear(attnByHand({ q: [2], k: [1], v: [0], softcap: 2 }).lse.data, [2 * tanh(1)]);
    expectNear(attnByHand({ q: [2], k: [4], v: [0], softcap: 2, softmaxScale: 0.5 }).lse.data, [2 * tanh(2)]);
  });

  test('ALiBi subtracts slope times distance: with slope ln 2 each step halves the weight', () => {
    const weights = weightsByHand({ q: [0], k: [0, 0, 0], alibiSlopes: [log(2)], causal: true });
    expectNear(weights[0]!, [1 / 7, 2 / 7, 4 / 7]);
  });

  test('ALiBi counts the distance to keys ahead as well', () => {
    const weights = weightsByHand({ q: [0, 0, 0], k: [0, 0, 0], alibiSlopes: [log(2)] });
    expectNear(weights.flat(), [4 / 7, 2 / 7, 1 / 7, 1 / 4, 1 / 2, 1 / 4, 1 / 7, 2 / 7, 4 / 7]);
  });

  test('ALiBi comes after scale and softcap; the lse includes it', () => {
    // One key at position 0, two queries at −1 and 0.
    const { lse } = attnByHand({
      q: [2, 2],
      k: [1],
      v: [0],
      softmaxScale: 0.5,
      softcap: 1,
      alibiSlopes: [3],
    });
    expectNear(lse.data, [tanh(1) - 3, tanh(1)]);
  });

  test.each([
    { alibiSlopes: [0, log(2)], want: [2, 1.5, 2, 1.5], why: 'a slope per head' },
    { alibiSlopes: [0, log(2), log(2), 0], want: [2, 1.5, 1.5, 2], why: 'a slope per sequence and head' },
  ])('ALiBi: $why', ({ alibiSlopes, want }) => {
    const { lse } = attnReference({
      q: tensor([2, 1, 2, 1], [0, 0, 0, 0]),
      k: tensor([2, 2, 1, 1], [0, 0, 0, 0]),
      v: tensor([2, 2, 1, 1], [0, 0, 0, 0]),
      alibiSlopes,
    });
    expect(lse.shape).toEqual([2, 2, 1]);
    expectNear(lse.data, want.map(log));
  });

  test('a sink counts in the denominator only', () => {
    const { out, lse } = attnByHand({ q: [1], k: [0], v: [8], sinks: [0] });
    expectNear(out.data, [4]);
    expectNear(lse.data, [log(2)]);
  });

  test('a sink is neither scaled nor capped', () => {
    const { lse } = attnByHand({ q: [2], k: [1], v: [0], softmaxScale: 0.5, softcap: 1, sinks: [3] });
    expectNear(lse.data, [log(exp(3) + exp(tanh(1)))]);
  });

  test('a sink far above the scores leaves them no weight', () => {
    const { out, lse } = attnByHand({ q: [1], k: [0], v: [8], sinks: [1000] });
    expect([...out.data, ...lse.data]).toEqual([0, 1000]);
  });

  test('there is a sink per head', () => {
    const one = tensor([1, 1, 2, 1], [0, 0]);
    expectNear(attnReference({ q: one, k: one, v: one, sinks: [0, log(3)] }).lse.data, [log(2), log(4)]);
  });
});

const f16 = (x: number): number => roundTo('f16', x);

describe('storage: the same computation in 16 bits', () => {
  test('scores are rounded', () => {
    // Above 1 the steps of f16 are 2^-10 and those of bf16 2^-7: less than half of one is lost.
    expect(attnByHand({ q: [1 + 2 ** -12], k: [1], v: [1], storage: 'f16' }).lse.data[0]).toBe(1);
    expect(attnByHand({ q: [1 + 2 ** -9], k: [1], v: [1], storage: 'bf16' }).lse.data[0]).toBe(1);
  });

  test('each step of softcap is rounded', () => {
    const { lse } = attnByHand({ q: [8], k: [1], v: [1], softcap: 5, storage: 'f16' });
    expect(lse.data[0]).toBe(f16(5 * f16(tanh(f16(8 / 5)))));
    // Numbers for which no rounding can be left out.
    expect(lse.data[0]).not.toBe(f16(5 * f16(tanh(8 / 5))));
    expect(lse.data[0]).not.toBe(f16(5 * tanh(f16(8 / 5))));
    expect(lse.data[0]).not.toBe(5 * f16(tanh(f16(8 / 5))));
  });

  test('probabilities and outputs are rounded', () => {
    const third = roundTo('bf16', 1 / 3);
    expect(weightsByHand({ q: [1], k: [0, 0, 0], storage: 'bf16' })).toEqual([[third, third, third]]);
    const { out } = attnByHand({ q: [1], k: [0, 0, 0], v: [1, 0, 4], storage: 'bf16' });
    expect(out.data[0]).toBe(roundTo('bf16', third + 4 * third));
    expect(out.data[0]).not.toBe(roundTo('bf16', 5 / 3));
  });

  test.each([
    { at: [0, 4, 8], why: 'each of four running sums' },
    { at: [1, 5, 9], why: 'each of four running sums' },
    { at: [2, 6, 10], why: 'each of four running sums' },
    { at: [3, 7, 11], why: 'each of four running sums' },
    { at: [0, 12, 13], why: 'what is left over when they are done' },
    { at: [0, 1, 2], why: 'the sum of the sums' },
    { at: [2, 3, 0], why: 'the sum of the sums' },
  ] as const)(
    'in f32, 2^24 + 1 − 2^24 is 0 in a score, elements $at: $why',
    ({ at: [big, one, negated] }) => {
      const q = new Float64Array(14);
      [q[big], q[one], q[negated]] = [2 ** 12, 1, 2 ** 12];
      const k = q.slice();
      k[negated] = -(2 ** 12);
      const args = { q: tensor([1, 1, 1, 14], q), k: tensor([1, 1, 1, 14], k), v: tensor([1, 1, 1, 1], [0]) };
      expect(attnReference({ ...args, softmaxScale: 1 }).lse.data[0]).toBe(1);
      expect(attnReference({ ...args, softmaxScale: 1, storage: 'f16' }).lse.data[0]).toBe(0);
    },
  );

  test('in f32, 2^24 + 1 − 2^24 is 0 in an output', () => {
    const args = { q: [0], k: [0, 0, 0, 0], v: [2 ** 26, 4, -(2 ** 26), 0] };
    expect(attnByHand(args).out.data[0]).toBe(1);
    expect(attnByHand({ ...args, storage: 'bf16' }).out.data[0]).toBe(0);
  });

  test.each([
    { storage: 'f16', step: 2 ** -10 },
    { storage: 'bf16', step: 2 ** -7 },
  ] as const)('$storage is near f64 but not equal, and representable', ({ storage, step }) => {
    const random = new Random(3);
    const args = randomDense(random, { b: 1, sq: 5, sk: 40, nHeads: 2, nKvHeads: 1, d: 16, dv: 16 });
    const exact = attnReference(args).out.data;
    const emulated = attnReference({ ...args, storage }).out.data;
    const errors = emulated.map((x, i) => Math.abs(x - exact[i]!));
    expect(Math.max(...errors)).toBeLessThan(4 * step);
    expect(Math.max(...errors)).toBeGreaterThan(step / 16);
    expect([...emulated]).toEqual(Array.from(emulated, (x) => roundTo(storage, x)));
  });
});
