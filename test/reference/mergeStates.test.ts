import { describe, expect, test } from 'vitest';
import { elementCount } from '../../src/core/tensor.js';
import {
  attnReference,
  attnVarlenReference,
  mergeStatesReference,
  type AttentionResult,
  type HostInts,
  type HostTensor,
} from '../../src/reference/attention.js';
import { keysOf, randomDense, randomTensor, tensor } from './hostTensors.js';
import { expectAlike, expectNear } from './near.js';
import { Random } from '../../tools/random.js';

const { log } = Math;

/** A result of one head: `out` has all rows, `lse` one number per row. */
function part(out: readonly number[], lse: readonly number[]): AttentionResult {
  return {
    out: tensor([lse.length, 1, out.length / lse.length], out),
    lse: tensor([1, lse.length], lse),
  };
}

describe('mergeStates', () => {
  test('parts are weighted by exp(lse)', () => {
    const { out, lse } = mergeStatesReference([part([1, 10], [0]), part([5, 50], [log(3)])]);
    expectNear(out.data, [4, 40]);
    expectNear(lse.data, [log(4)]);
  });

  test('an empty part is ignored, whatever it contains', () => {
    const { out, lse } = mergeStatesReference([
      part([NaN, 7], [-Infinity, 2]),
      part([3, Infinity], [1, -Infinity]),
    ]);
    expect([...out.data]).toEqual([3, 7]);
    expect([...lse.data]).toEqual([1, 2]);
  });

  test('a row whose parts are all empty is zero, with lse −∞', () => {
    const { out, lse } = mergeStatesReference([part([NaN], [-Infinity]), part([NaN], [-Infinity])]);
    expect([...out.data, ...lse.data]).toEqual([0, -Infinity]);
  });

  test('a part with a much larger lse has all the weight', () => {
    const { out, lse } = mergeStatesReference([part([1], [-1e5]), part([2], [1e5]), part([3], [0])]);
    expect([...out.data, ...lse.data]).toEqual([2, 1e5]);
  });

  test.each([1e6, -1e30, 3e38])('two equal parts have half the weight each, at an lse of %d', (at) => {
    const { out, lse } = mergeStatesReference([part([1], [at]), part([2], [at])]);
    expect([...out.data, ...lse.data]).toEqual([1.5, at + log(2)]);
  });
});

describe('merged parts', () => {
  test.each([
    { nParts: 1, why: 'identity' },
    { nParts: 2, why: 'halves' },
    { nParts: 5, why: 'unequal parts' },
    { nParts: 40, why: 'more parts than keys: some are empty' },
  ])('$nParts parts of the keys make the whole: $why', ({ nParts }) => {
    const random = new Random(nParts);
    const sk = 33;
    const { q, k, v } = randomDense(random, { b: 2, sq: 3, sk, nHeads: 4, nKvHeads: 2, d: 8, dv: 6 });
    const sinks = random.normals(4);
    const parts = Array.from({ length: nParts }, (_, c) => {
      const [from, to] = [Math.floor((c * sk) / nParts), Math.floor(((c + 1) * sk) / nParts)];
      return attnReference({
        q,
        k: keysOf(k, from, to),
        v: keysOf(v, from, to),
        sinks: c === 0 ? sinks : undefined,
      });
    });
    expectAlike(mergeStatesReference(parts), attnReference({ q, k, v, sinks }));
  });

  test('in the layout of varlen', () => {
    const random = new Random(4);
    const q = randomTensor(random, [5, 4, 8]);
    const k = randomTensor(random, [12, 2, 8]);
    const v = randomTensor(random, [12, 2, 6]);
    const cuSeqlensQ = [0, 2, 5];
    const from = (first: number, { data, shape: [n, ...rest] }: HostTensor): HostTensor => ({
      data: data.subarray(first * elementCount(rest)),
      shape: [n! - first, ...rest],
    });
    const of = (first: number, cuSeqlensK: HostInts, sequsedK?: HostInts): AttentionResult =>
      attnVarlenReference({ q, k: from(first, k), v: from(first, v), cuSeqlensQ, cuSeqlensK, sequsedK });
    // Sequence 0 has keys 0 to 6, sequence 1 keys 7 to 11; the parts end at 3 and at 9.
    const parts = [of(0, [0, 7, 12], [3, 2]), of(3, [0, 6, 9], [4, 3])];
    expectAlike(mergeStatesReference(parts), of(0, [0, 7, 12]));
  });
});
