import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { roundTo } from '../../src/core/dtype.js';
import { visibleBand } from '../../src/problem/band.js';
import {
  attnReference,
  attnVarlenReference,
  attnWithKvCacheReference,
  mergeStatesReference,
  type AttentionOptions,
  type AttentionResult,
  type HostTensor,
} from '../../src/reference/attention.js';
import { visibleKeys } from '../../src/reference/attend.js';
import {
  goldenNames,
  parseGolden,
  type GoldenCase,
  type GoldenKvCache,
  type GoldenVarlen,
} from './golden.js';
import { randomDense, randomPaged, rowsOf, tensor, unitMatrix } from './hostTensors.js';
import { expectNear } from './near.js';
import { Random } from '../../tools/random.js';
import { refusal } from '../check/refusal.js';
import { checkRotated, checkSame } from './tolerance.js';

const { exp, log, sqrt, tanh } = Math;

interface ByHand extends AttentionOptions {
  readonly q: readonly number[];
  readonly k: readonly number[];
  readonly v: readonly number[];
}

/** One sequence and one head of size 1, so that with the default scale a score is the product of two numbers. */
function attnByHand({ q, k, v, ...options }: ByHand): AttentionResult {
  return attnReference({
    q: tensor([1, q.length, 1, 1], q),
    k: tensor([1, k.length, 1, 1], k),
    v: tensor([1, v.length, 1, 1], v),
    ...options,
  });
}

/** What each query makes of each key: as the values are the rows of the unit matrix, out holds the weights. */
function weightsByHand({ q, k, ...options }: Omit<ByHand, 'v'>): number[][] {
  const { out } = attnReference({
    q: tensor([1, q.length, 1, 1], q),
    k: tensor([1, k.length, 1, 1], k),
    v: unitMatrix([1, k.length, 1, k.length]),
    ...options,
  });
  return rowsOf(out);
}

/** A line per query with an x for every key that it sees. */
function seen(nQueries: number, nKeys: number, options: AttentionOptions): string[] {
  const q = Array<number>(nQueries).fill(0);
  const k = Array<number>(nKeys).fill(0);
  return picture(weightsByHand({ q, k, ...options }));
}

function picture(weights: readonly number[][]): string[] {
  return weights.map((row) => row.map((weight) => (weight > 0 ? 'x' : '.')).join(''));
}

describe('softmax', () => {
  test('one key has all the weight, and its score is the lse', () => {
    const { out, lse } = attnByHand({ q: [3], k: [2], v: [7] });
    expectNear(out.data, [7]);
    expectNear(lse.data, [6]);
  });

  test('two equal keys share, whatever their score', () => {
    const { out, lse } = attnByHand({ q: [1], k: [5, 5], v: [2, 4] });
    expectNear(out.data, [3]);
    expectNear(lse.data, [5 + log(2)]);
  });

  test('scores 0 and ln 3 weigh 1 : 3', () => {
    const { out, lse } = attnByHand({ q: [1], k: [0, log(3)], v: [0, 4] });
    expectNear(out.data, [3]);
    expectNear(lse.data, [log(4)]);
  });

  test('the scale is 1/√D, or what is given', () => {
    const ones = tensor([1, 1, 1, 4], [1, 1, 1, 1]);
    expectNear(attnReference({ q: ones, k: ones, v: ones }).lse.data, [4 / sqrt(4)]);
    expectNear(attnReference({ q: ones, k: ones, v: ones, softmaxScale: 0.25 }).lse.data, [1]);
  });

  test('scores beyond the range of exp overflow nothing', () => {
    const { out, lse } = attnByHand({ q: [1, -1], k: [3e5, -3e5], v: [2, 4] });
    expectNear(out.data, [2, 4]);
    expectNear(lse.data, [3e5, 3e5]);
  });

  test('one key far above the rest takes all', () => {
    expect(weightsByHand({ q: [1], k: [0, 900, 0] })).toEqual([[0, 1, 0]]);
  });
});

describe('masks', () => {
  test.each([
    { options: { causal: true }, want: ['xxx.', 'xxxx'], why: 'aligned bottom right' },
    { options: { causal: true }, want: ['..', '..', 'x.', 'xx'], why: 'more queries than keys' },
    { options: { windowSize: [1, 1] }, want: ['xx..', 'xxx.', '.xxx', '..xx'], why: 'both ends included' },
    { options: { windowSize: [1, 1] }, want: ['..xxx', '...xx'], why: 'a window, aligned' },
    { options: { windowSize: [1, 0] }, want: ['..', '..', 'x.', 'xx'], why: 'a window before the keys' },
    { options: { windowSize: [0, -1] }, want: ['xxx', '.xx', '..x'], why: 'no end on the right' },
    { options: { windowSize: [-1, 1] }, want: ['xx.', 'xxx', 'xxx'], why: 'no end on the left' },
    {
      options: { windowSize: [1, 2], causal: true },
      want: ['x..', 'xx.', '.xx'],
      why: 'causal closes the right',
    },
    { options: { attentionChunk: 2 }, want: ['xx...', 'xx...', '..xx.', '..xx.', '....x'], why: 'chunks' },
    {
      options: { attentionChunk: 3, causal: true },
      want: ['xxx..', '...x.', '...xx'],
      why: 'counted by position',
    },
    {
      options: { attentionChunk: 2 },
      want: ['..', '..', 'xx', 'xx'],
      why: '−2 and −1 are a chunk of their own',
    },
    {
      options: { attentionChunk: 2, windowSize: [2, 0] },
      want: ['x..', 'xx.', '..x'],
      why: 'a chunk cuts a window',
    },
  ] as const)('$options, $why: $want', ({ options, want }) => {
    expect(seen(want.length, want[0].length, options)).toEqual(want);
  });

  test.each([
    { leftpad: 0, want: ['xx....', 'xx....', '..xx..', '..xx..', '....xx', '....xx'] },
    { leftpad: 1, want: ['......', '.xx...', '.xx...', '...xx.', '...xx.', '.....x'] },
    { leftpad: 3, want: ['......', '......', '......', '...xx.', '...xx.', '.....x'] },
  ])('chunks are of real tokens: behind $leftpad slots of padding $want', ({ leftpad, want }) => {
    const { out } = attnWithKvCacheReference({
      q: tensor([1, 6, 1, 1], Array<number>(6).fill(0)),
      kCache: tensor([1, 6, 1, 1], Array<number>(6).fill(0)),
      vCache: unitMatrix([1, 6, 1, 6]),
      cacheSeqlens: [6],
      cacheLeftpad: [leftpad],
      attentionChunk: 2,
    });
    expect(picture(rowsOf(out))).toEqual(want);
  });

  test('the interval of keys is what the rules say key by key, for the reference and for kernels', () => {
    for (const nKeys of [0, 1, 5])
      for (const leftpad of [0, 2])
        for (const causal of [false, true])
          for (const left of [-1, 0, 2])
            for (const right of [-1, 0, 1, 3])
              for (const chunk of [0, 1, 3])
                for (let p = -4; p < nKeys + 3; p++) {
                  const options = { causal, windowSize: [left, right], attentionChunk: chunk } as const;
                  const { begin, end } = visibleKeys(p, nKeys, leftpad, options);
                  const range = { firstKey: leftpad, kLen: nKeys };
                  const masks = { left, right: causal ? 0 : right, attentionChunk: chunk };
                  const [first, last] = visibleBand(p, range, masks);
                  const chunkOf = (position: number) => Math.floor((position - leftpad) / chunk);
                  for (let j = 0; j < nKeys; j++) {
                    const visible =
                      j >= leftpad &&
                      (!causal || j <= p) &&
                      (left < 0 || p - left <= j) &&
                      (right < 0 || j <= p + right) &&
                      (chunk === 0 || chunkOf(p) === chunkOf(j));
                    if (visible !== (begin <= j && j < end) || visible !== (first <= j && j <= last))
                      expect.fail(
                        `query at ${p}, key ${j} of ${nKeys}, leftpad ${leftpad}, ${JSON.stringify(options)}`,
                      );
                  }
                }
  });

  test('a row that sees no key is zero, with lse −∞', () => {
    const { out, lse } = attnByHand({ q: [1, 1, 1], k: [0], v: [5], causal: true });
    expect([...out.data]).toEqual([0, 0, 5]);
    expect([...lse.data]).toEqual([-Infinity, -Infinity, 0]);
  });

  test('a sink of −∞ is none, with keys and without', () => {
    const { out, lse } = attnByHand({ q: [1, 1], k: [0], v: [6], causal: true, sinks: [-Infinity] });
    expect([...out.data]).toEqual([0, 6]);
    expect([...lse.data]).toEqual([-Infinity, 0]);
  });

  test('a row that sees a sink but no key is zero, with the sink as its lse', () => {
    const { out, lse } = attnByHand({ q: [1, 1], k: [0], v: [6], causal: true, sinks: [log(2)] });
    expectNear(out.data, [0, 6 / (2 + 1)]);
    expectNear(lse.data, [log(2), log(2 + 1)]);
  });
});

describe('scores', () => {
  test('the softcap c makes c·tanh(s/c) of the scaled score', () => {
    expectNear(attnByHand({ q: [2], k: [1], v: [0], softcap: 2 }).lse.data, [2 * tanh(1)]);
    expectNear(attnByHand({ q: [2], k: [4], v: [0], softcap: 2, softmaxScale: 0.5 }).lse.data, [2 * tanh(2)]);
  });

  test('ALiBi takes slope times distance away: with slope ln 2 each step halves the weight', () => {
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

  test('a sink joins the denominator only', () => {
    const { out, lse } = attnByHand({ q: [1], k: [0], v: [8], sinks: [0] });
    expectNear(out.data, [4]);
    expectNear(lse.data, [log(2)]);
  });

  test('a sink is neither scaled nor capped', () => {
    const { lse } = attnByHand({ q: [2], k: [1], v: [0], softmaxScale: 0.5, softcap: 1, sinks: [3] });
    expectNear(lse.data, [log(exp(3) + exp(tanh(1)))]);
  });

  test('a sink far above the scores leaves them nothing', () => {
    const { out, lse } = attnByHand({ q: [1], k: [0], v: [8], sinks: [1000] });
    expect([...out.data, ...lse.data]).toEqual([0, 1000]);
  });

  test('there is a sink per head', () => {
    const one = tensor([1, 1, 2, 1], [0, 0]);
    expectNear(attnReference({ q: one, k: one, v: one, sinks: [0, log(3)] }).lse.data, [log(2), log(4)]);
  });
});

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

  test('a cache row holds a sequence, the row after it another', () => {
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

describe('nothing there', () => {
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

describe('what nobody wrote changes nothing', () => {
  test('keys past sequsedK', () => {
    const { out } = attnVarlenReference({
      q: tensor([2, 1, 1], [1, 1]),
      k: tensor([4, 1, 1], [0, NaN, 0, NaN]),
      v: tensor([4, 1, 1], [2, NaN, 4, NaN]),
      cuSeqlensQ: [0, 1, 2],
      cuSeqlensK: [0, 2, 4],
      sequsedK: [1, 1],
    });
    expect([...out.data]).toEqual([2, 4]);
  });

  test('sequsedK counts from the first key of a sequence, and moves its queries', () => {
    const { out } = attnVarlenReference({
      q: tensor([2, 1, 1], [0, 0]),
      k: tensor([3, 1, 1], [0, 0, NaN]),
      v: unitMatrix([3, 1, 3]),
      cuSeqlensQ: [0, 2],
      cuSeqlensK: [0, 3],
      sequsedK: [2],
      causal: true,
    });
    expect(picture(rowsOf(out))).toEqual(['x..', 'xx.']);
  });

  test('slots before leftpad', () => {
    const { out } = attnWithKvCacheReference({
      q: tensor([1, 2, 1, 1], [0, 0]),
      kCache: tensor([1, 4, 1, 1], [NaN, 0, 0, 0]),
      vCache: unitMatrix([1, 4, 1, 4]),
      cacheSeqlens: [4],
      cacheLeftpad: [1],
      causal: true,
    });
    expect(picture(rowsOf(out))).toEqual(['.xx.', '.xxx']);
  });

  test('pages of nobody and slots of the last page', () => {
    const random = new Random(2);
    const paged = randomPaged(random, {
      lengths: [5, 0, 9],
      pageSize: 4,
      sq: 2,
      nHeads: 2,
      nKvHeads: 1,
      d: 4,
    });
    expect(paged.kCache.data.filter(Number.isNaN).length).toBeGreaterThan(0);
    const { out } = attnWithKvCacheReference({ ...paged, causal: true });
    expect(out.data.every(Number.isFinite)).toBe(true);
  });
});

describe('a page or row that is not there', () => {
  const OUTSIDE = [-1, 3, 2 ** 31 - 1, -(2 ** 31), 0xffffffff];

  test.each(OUTSIDE)(
    'page %d in the middle: its keys are masked, the others seen at their positions',
    (page) => {
      const { out, lse } = attnWithKvCacheReference({
        q: tensor([1, 2, 1, 1], [1, 1]),
        kCache: tensor([3, 2, 1, 1], [0, log(2), NaN, NaN, log(3), NaN]),
        vCache: tensor([3, 2, 1, 1], [1, 4, NaN, NaN, 7, NaN]),
        cacheSeqlens: [5],
        blockTable: [0, page, 2],
        causal: true,
      });
      expectNear(out.data, [(1 + 2 * 4) / 3, (1 + 2 * 4 + 3 * 7) / 6]);
      expectNear(lse.data, [log(3), log(6)]);
    },
  );

  test.each(OUTSIDE)('page %d: nothing is written, the other tokens are', (page) => {
    const { kCache, lse } = attnWithKvCacheReference({
      q: tensor([1, 1, 1, 1], [1]),
      kCache: tensor([3, 2, 1, 1], [7, 7, 7, 7, 7, 7]),
      vCache: tensor([3, 2, 1, 1], [7, 7, 7, 7, 7, 7]),
      k: tensor([1, 3, 1, 1], [1, 2, 3]),
      v: tensor([1, 3, 1, 1], [1, 2, 3]),
      cacheSeqlens: [1],
      blockTable: [page, 1],
    });
    expect([...kCache.data]).toEqual([7, 7, 2, 3, 7, 7]);
    expectNear(lse.data, [log(exp(2) + exp(3))]);
  });

  test.each([
    { why: 'no page at all', tables: { blockTable: [0, -1] } },
    { why: 'no row of the cache', tables: { cacheBatchIdx: [0, -1] } },
    { why: 'no row of the table', tables: { blockTable: [0, 1], cacheBatchIdx: [0, 2] } },
  ])('$why: zeros, lse −∞, nothing written', ({ tables }) => {
    const { out, lse, kCache } = attnWithKvCacheReference({
      q: tensor([2, 1, 1, 1], [1, 1]),
      kCache: tensor([2, 2, 1, 1], [0, 7, 7, 7]),
      vCache: tensor([2, 2, 1, 1], [3, 7, 7, 7]),
      k: tensor([2, 1, 1, 1], [0, 9]),
      v: tensor([2, 1, 1, 1], [5, 9]),
      cacheSeqlens: [1, 0],
      ...tables,
    });
    expectNear(out.data, [4, 0]);
    expectNear(lse.data, [log(2), -Infinity]);
    expect([...kCache.data]).toEqual([0, 0, 7, 7]);
  });
});

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
  test('new token t goes to slot cacheSeqlens + t and is seen; the arguments stay as they are', () => {
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

  test('new tokens are scattered through the table', () => {
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

  test('with a block table, cacheBatchIdx picks the row of the table', () => {
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

  test('pairs are interleaved unless told otherwise, and each pair has its angle', () => {
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

  test('causal queries and new keys are turned by their positions', () => {
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

const f16 = (x: number): number => roundTo('f16', x);

describe('storage: the same computation in 16 bits', () => {
  test('scores are rounded', () => {
    // Above 1 the steps of f16 are 2^-10 and those of bf16 2^-7: less than half of one is lost.
    expect(attnByHand({ q: [1 + 2 ** -12], k: [1], v: [1], storage: 'f16' }).lse.data[0]).toBe(1);
    expect(attnByHand({ q: [1 + 2 ** -9], k: [1], v: [1], storage: 'bf16' }).lse.data[0]).toBe(1);
  });

  test('each step of the softcap is rounded', () => {
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

/** Rows of one head: `out` is all of them, `lse` one number each. */
function part(out: readonly number[], lse: readonly number[]): AttentionResult {
  return {
    out: tensor([lse.length, 1, out.length / lse.length], out),
    lse: tensor([1, lse.length], lse),
  };
}

describe('mergeStates', () => {
  test('parts weigh by exp(lse)', () => {
    const { out, lse } = mergeStatesReference([part([1, 10], [0]), part([5, 50], [log(3)])]);
    expectNear(out.data, [4, 40]);
    expectNear(lse.data, [log(4)]);
  });

  test('an empty part counts for nothing, whatever it holds', () => {
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

  test('a part far above the others takes all', () => {
    const { out, lse } = mergeStatesReference([part([1], [-1e5]), part([2], [1e5]), part([3], [0])]);
    expect([...out.data, ...lse.data]).toEqual([2, 1e5]);
  });

  test.each([1e6, -1e30, 3e38])('two parts alike share, where their lse is %d', (at) => {
    const { out, lse } = mergeStatesReference([part([1], [at]), part([2], [at])]);
    expect([...out.data, ...lse.data]).toEqual([1.5, at + log(2)]);
  });
});

describe('golden answers', () => {
  test('there are cases', () => expect(goldenNames.length).toBeGreaterThanOrEqual(8));

  test.each(goldenNames)('%s', async (name) => {
    // Read as a file: what a bundler makes of it takes a second to decode.
    const file = await readFile(new URL(`../golden/${name}.safetensors`, import.meta.url));
    const golden = parseGolden(name, Uint8Array.from(file).buffer);
    const result =
      golden.fn === 'attnVarlen' ? attnVarlenReference(varlenArgs(golden)) : cachedResult(golden);
    expect(result.out.shape).toEqual(golden.floats.out.shape);
    expect(result.lse.shape).toEqual(golden.floats.lse.shape);
    expectNearF32(result.out.data, golden.floats.out.data);
    expectNearF32(result.lse.data, golden.floats.lse.data);
  });
});

function commonArgs({ args, floats, ints }: GoldenCase) {
  return {
    ...args,
    q: floats.q,
    alibiSlopes: floats['alibiSlopes']?.data,
    sinks: floats['sinks']?.data,
    blockTable: ints['blockTable']?.data,
  };
}

function varlenArgs(golden: GoldenVarlen) {
  const { floats, ints } = golden;
  return {
    ...commonArgs(golden),
    k: floats.k,
    v: floats.v,
    cuSeqlensQ: ints.cuSeqlensQ.data,
    cuSeqlensK: ints['cuSeqlensK']?.data,
    sequsedK: ints['sequsedK']?.data,
  };
}

/** Runs the case and checks what the caches hold afterwards. */
function cachedResult(golden: GoldenKvCache): AttentionResult {
  const { floats, ints, dtype } = golden;
  const result = attnWithKvCacheReference({
    ...commonArgs(golden),
    dtype,
    kCache: floats.kCache,
    vCache: floats.vCache,
    k: floats['k'],
    v: floats['v'],
    cacheSeqlens: ints.cacheSeqlens.data,
    cacheBatchIdx: ints['cacheBatchIdx']?.data,
    cacheLeftpad: ints['cacheLeftpad']?.data,
    rotaryCos: floats['rotaryCos'],
    rotarySin: floats['rotarySin'],
  });
  const wantK = { actual: validSlots(golden, result.kCache), reference: floats.wantK.data };
  const wantV = { actual: validSlots(golden, result.vCache), reference: floats.wantV.data };
  if (floats['rotaryCos']) checkRotated('kCache', wantK, dtype);
  else checkSame('kCache', wantK);
  checkSame('vCache', wantV);
  return result;
}

/** The keys of a cache, sequence after sequence; NaN where leftpad hides. */
function validSlots({ floats, ints }: GoldenKvCache, { data, shape }: HostTensor): number[] {
  const [, pageSize, nKvHeads, d] = shape as [number, number, number, number];
  const table = ints['blockTable'];
  const nNew = floats['k']?.shape[1] ?? 0;
  return Array.from(ints.cacheSeqlens.data).flatMap((nCached, b) => {
    const row = ints['cacheBatchIdx']?.data[b] ?? b;
    const leftpad = ints['cacheLeftpad']?.data[b] ?? 0;
    return Array.from({ length: nCached + nNew }, (_, j) => {
      // A cache without a table is one page of Sc slots per row.
      const page = table ? table.data[row * table.shape[1]! + Math.floor(j / pageSize)]! : row;
      const slot = page * pageSize + (table ? j % pageSize : j);
      if (j < leftpad) return Array<number>(nKvHeads * d).fill(NaN);
      return [...data.subarray(slot * nKvHeads * d, (slot + 1) * nKvHeads * d)];
    }).flat();
  });
}

/** Equal but for the f32 that the answers are stored in. */
function expectNearF32(got: ArrayLike<number>, want: ArrayLike<number>): void {
  expect(got).toHaveLength(want.length);
  for (let i = 0; i < want.length; i++) {
    const allowed = 2 ** -22 * Math.max(1, Math.abs(want[i]!));
    if (got[i] === want[i] || Math.abs(got[i]! - want[i]!) <= allowed) continue;
    expect.fail(`element ${i} is ${got[i]!}, want ${want[i]!}`);
  }
}

describe('misuse', () => {
  const one = tensor([1, 1, 1, 1], [0]);
  const flat = tensor([1, 1, 1], [0]);

  test('names what is missing', () => {
    expect(() =>
      attnVarlenReference({ q: flat, k: flat, v: flat, cuSeqlensQ: [0, 1] }),
    ).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: attnVarlen: pass cuSeqlensK, or sequsedK with blockTable.]`,
    );
    expect(() =>
      attnWithKvCacheReference({ q: one, kCache: one, vCache: one, cacheSeqlens: 1, rotaryCos: flat }),
    ).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: attnWithKvCache: pass rotaryCos and rotarySin together.]`,
    );
    expect(() => mergeStatesReference([])).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: mergeStates: there is no part to merge.]`,
    );
  });

  test('sums of lengths that do not begin with 0', () => {
    const five = tensor([5, 1, 1], [1, 2, 3, 4, 5]);
    const cache = tensor(
      [2, 5, 1, 1],
      Array.from({ length: 10 }, (_, i) => i),
    );
    const varlen = (change: object) =>
      refusal(() =>
        attnVarlenReference({ q: five, k: five, v: five, cuSeqlensQ: [0, 5], cuSeqlensK: [0, 5], ...change }),
      );
    const cached = (change: object) =>
      refusal(() =>
        attnWithKvCacheReference({ q: five, kCache: cache, vCache: cache, cacheSeqlens: 0, ...change }),
      );
    expect([
      varlen({ cuSeqlensQ: [2, 5] }),
      varlen({ cuSeqlensK: [2, 3] }),
      cached({ cuSeqlensQ: [2, 5] }),
      cached({ cuSeqlensQ: [0, 2, 5], k: five, v: five, cuSeqlensKNew: [2, 3] }),
    ]).toMatchInlineSnapshot(`
      [
        "length: attnVarlen: cuSeqlensQ must begin with 0, not 2: it looks like sums without the leading 0. Pass [0, 2, 5].",
        "length: attnVarlen: cuSeqlensK must begin with 0, not 2: it looks like lengths. Pass their running sums, [0, 2, 5].",
        "length: attnWithKvCache: cuSeqlensQ must begin with 0, not 2: it looks like sums without the leading 0. Pass [0, 2, 5].",
        "length: attnWithKvCache: cuSeqlensKNew must begin with 0, not 2: it looks like lengths. Pass their running sums, [0, 2, 5].",
      ]
    `);
  });

  test('rows of no sequence are zero, with lse −∞', () => {
    const five = tensor([5, 1, 1], [1, 2, 3, 4, 5]);
    const { out, lse } = attnVarlenReference({
      q: five,
      k: five,
      v: five,
      cuSeqlensQ: [0, 3],
      cuSeqlensK: [0, 5],
    });
    expect([...out.data].map((x) => x === 0)).toEqual([false, false, false, true, true]);
    expect([...lse.data].map(Number.isFinite)).toEqual([true, true, true, false, false]);
  });

  test('names a wrong shape', () => {
    expect(() => attnReference({ q: flat, k: one, v: one })).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: q must have 4 dimensions; its shape is [1, 1, 1].]`,
    );
    const heads = tensor([1, 1, 2, 1], [0, 0]);
    expect(() => attnReference({ q: one, k: heads, v: heads })).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: 1 query heads are not a multiple of 2 kv heads.]`,
    );
  });

  test('names what is no tensor, or holds another number of numbers', () => {
    const short = { data: new Float64Array(3), shape: [1, 2, 2, 1] };
    const angles = { rotaryCos: new Float32Array(1), rotarySin: new Float32Array(1) };
    const state = attnReference({ q: one, k: one, v: one });
    expect([
      refusal(() => attnReference({ q: one, k: short, v: one })),
      refusal(() =>
        attnVarlenReference({ q: flat, k: flat, cuSeqlensQ: [0, 1], cuSeqlensK: [0, 1] } as never),
      ),
      refusal(() =>
        attnWithKvCacheReference({
          q: one,
          kCache: one,
          vCache: one,
          cacheSeqlens: 1,
          ...angles,
        } as never),
      ),
      refusal(() => mergeStatesReference({ parts: [state] } as never)),
      refusal(() => mergeStatesReference([{ ...state, lse: [0] } as never])),
    ]).toMatchInlineSnapshot(`
      [
        "shape: attnReference: k is [1, 2, 2, 1], 4 numbers, but has 3.",
        "argument: attnVarlenReference: v must be { data, shape }, numbers in a typed array, not undefined.",
        "argument: attnWithKvCacheReference: rotaryCos must be { data, shape }, numbers in a typed array, not a Float32Array.",
        "argument: mergeStatesReference: the parts must be one array, [{ out, lse }, …], not a plain object.",
        "argument: mergeStatesReference: parts[0].lse must be { data, shape }, numbers in a typed array, not [0].",
      ]
    `);
  });

  test('knows no angle beyond the rotary tables', () => {
    const args = { q: one, kCache: one, vCache: one, cacheSeqlens: 1 };
    expect(() =>
      attnWithKvCacheReference({ ...args, rotaryCos: tensor([1, 1], [1]), rotarySin: tensor([1, 1], [0]) }),
    ).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: rotaryCos has the positions 0 to 0, not position 1.]`,
    );
  });

  test('never writes past a row of the cache or of the table', () => {
    const args = { q: one, kCache: one, vCache: one, k: one, v: one, cacheSeqlens: 1 };
    expect(() => attnWithKvCacheReference(args)).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: row 0 of the cache has 1 slots for 2 keys.]`,
    );
    expect(() => attnWithKvCacheReference({ ...args, blockTable: [0] })).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: row 0 of blockTable has 1 pages of 1 slots; 2 keys need 2.]`,
    );
  });
});
