import { describe, expect, test } from 'vitest';
import {
  attnReference,
  attnVarlenReference,
  attnWithKvCacheReference,
} from '../../src/reference/attention.js';
import { randomDense, rowsOf, tensor } from './hostTensors.js';
import { expectNear } from './near.js';
import { Random } from '../../tools/random.js';

const { log } = Math;

describe('layout', () => {
  test('neighbouring query heads share a kv head', () => {
    const { out } = attnReference({
      q: tensor([1, 1, 4, 1], [1, 1, 1, 1]),
      k: tensor([1, 1, 2, 1], [0, 0]),
      v: tensor([1, 1, 2, 1], [10, 20]),
    });
    expect([...out.data]).toEqual([10, 10, 20, 20]);
  });

  test('out is [B, Sq, Hq, Dv] and lse [B, Hq, Sq]', () => {
    // The lse is the score q, each number of which is different; values are a pair (b, 10 b).
    const { out, lse } = attnReference({
      q: tensor([2, 3, 2, 1], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
      k: tensor([2, 1, 1, 1], [1, 1]),
      v: tensor([2, 1, 1, 2], [1, 10, 2, 20]),
    });
    expect(out.shape).toEqual([2, 3, 2, 2]);
    expect(rowsOf(out).map(String)).toEqual([
      ...Array<string>(6).fill('1,10'),
      ...Array<string>(6).fill('2,20'),
    ]);
    expect(lse.shape).toEqual([2, 2, 3]);
    expectNear(lse.data, [1, 3, 5, 2, 4, 6, 7, 9, 11, 8, 10, 12]);
  });

  test('varlen: each sequence has its own keys, out is [totalQ, Hq, Dv] and lse [Hq, totalQ]', () => {
    const { out, lse } = attnVarlenReference({
      q: tensor([3, 2, 1], [1, 2, 3, 4, 5, 6]),
      k: tensor([3, 1, 1], [1, 0, 0]),
      v: tensor([3, 1, 1], [10, 20, 40]),
      cuSeqlensQ: [0, 2, 3],
      cuSeqlensK: [0, 1, 3],
    });
    expect(out.shape).toEqual([3, 2, 1]);
    expectNear(out.data, [10, 10, 10, 10, 30, 30]);
    expect(lse.shape).toEqual([2, 3]);
    expectNear(lse.data, [1, 3, log(2), 2, 4, log(2)]);
  });

  test('varlen with pages: key j is in slot j mod pageSize of page j / pageSize of its row', () => {
    const { out } = attnVarlenReference({
      q: tensor([2, 1, 1], [0, 0]),
      k: tensor([3, 2, 1, 1], [0, 0, 0, 0, 0, 0]),
      v: tensor([3, 2, 1, 3], [0, 0, 4, NaN, NaN, NaN, 1, 0, 0, 0, 2, 0, 0, 0, 7, NaN, NaN, NaN]),
      cuSeqlensQ: [0, 1, 2],
      sequsedK: [3, 1],
      blockTable: [1, 0, 2, 0],
    });
    expectNear(out.data, [1 / 3, 2 / 3, 4 / 3, 0, 0, 7]);
  });

  test('each row of a cache holds a sequence', () => {
    const { out, lse } = attnWithKvCacheReference({
      q: tensor([2, 1, 1, 1], [1, 1]),
      kCache: tensor([2, 3, 1, 1], [0, 0, NaN, 5, NaN, NaN]),
      vCache: tensor([2, 3, 1, 1], [2, 4, NaN, 8, NaN, NaN]),
      cacheSeqlens: [2, 1],
    });
    expectNear(out.data, [3, 8]);
    expect(lse.shape).toEqual([2, 1, 1]);
    expectNear(lse.data, [log(2), 5]);
  });

  test('ragged queries on a cache: out is [totalQ, Hq, Dv] and lse [Hq, totalQ]', () => {
    const { out, lse } = attnWithKvCacheReference({
      q: tensor([3, 2, 1], [1, 2, 3, 4, 5, 6]),
      kCache: tensor([2, 2, 1, 1], [1, NaN, 0, 0]),
      vCache: tensor([2, 2, 1, 1], [10, NaN, 20, 40]),
      cacheSeqlens: [1, 2],
      cuSeqlensQ: [0, 2, 3],
    });
    expectNear(out.data, [10, 10, 10, 10, 30, 30]);
    expect(lse.shape).toEqual([2, 3]);
    expectNear(lse.data, [1, 3, log(2), 2, 4, log(2)]);
  });
});

describe('empty batches', () => {
  test.each([
    { b: 0, sq: 2, sk: 2, why: 'no sequences' },
    { b: 2, sq: 0, sk: 2, why: 'no queries' },
    { b: 2, sq: 2, sk: 0, why: 'no keys' },
  ])('$why', ({ b, sq, sk }) => {
    const random = new Random(1);
    const { q, k, v } = randomDense(random, { b, sq, sk, nHeads: 2, nKvHeads: 1, d: 4, dv: 3 });
    const { out, lse } = attnReference({ q, k, v });
    expect(out).toEqual(tensor([b, sq, 2, 3], new Float64Array(b * sq * 6)));
    expect(lse).toEqual(tensor([b, 2, sq], new Float64Array(b * sq * 2).fill(-Infinity)));
  });

  test('varlen: sequences without queries, without keys, without both', () => {
    const { out, lse } = attnVarlenReference({
      q: tensor([2, 1, 1], [1, 1]),
      k: tensor([2, 1, 1], [0, 0]),
      v: tensor([2, 1, 1], [3, 5]),
      cuSeqlensQ: [0, 0, 0, 1, 2],
      cuSeqlensK: [0, 0, 1, 1, 2],
    });
    expect([...out.data]).toEqual([0, 5]);
    expect([...lse.data]).toEqual([-Infinity, 0]);
  });

  test('varlen: no queries at all, no sequences at all', () => {
    const none = tensor([0, 1, 1], []);
    for (const cuSeqlens of [[0, 0, 0], [0]]) {
      const lengths = { cuSeqlensQ: cuSeqlens, cuSeqlensK: cuSeqlens };
      const { out, lse } = attnVarlenReference({ q: none, k: none, v: none, ...lengths });
      expect(out).toEqual(tensor([0, 1, 1], []));
      expect(lse).toEqual(tensor([1, 0], []));
    }
  });

  test('an empty cache', () => {
    const { out, lse } = attnWithKvCacheReference({
      q: tensor([1, 1, 1, 1], [1]),
      kCache: tensor([1, 1, 1, 1], [NaN]),
      vCache: tensor([1, 1, 1, 1], [NaN]),
      cacheSeqlens: 0,
    });
    expect([...out.data, ...lse.data]).toEqual([0, -Infinity]);
  });
});
