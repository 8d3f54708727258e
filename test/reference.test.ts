import { describe, expect, test } from 'vitest';
import { roundTo } from '../src/core/halves.js';
import {
  attnReference,
  attnVarlenReference,
  attnWithKvCacheReference,
  mergeStatesReference,
  type AttentionOptions,
  type AttentionResult,
  type HostInts,
  type HostTensor,
} from '../src/reference/attention.js';
import { visibleKeys } from '../src/reference/mask.js';
import { goldenNames, loadGolden, type GoldenCase, type GoldenKvCache } from './support/golden.js';
import { Random } from './support/random.js';
import { checkRotated, checkSame } from './support/tolerance.js';

const { exp, log, sqrt, tanh } = Math;

function tensor(shape: readonly number[], data: ArrayLike<number>): HostTensor {
  const count = shape.reduce((product, size) => product * size, 1);
  expect(data, `a tensor of shape [${shape.join(', ')}]`).toHaveLength(count);
  return { shape, data: Float64Array.from(data) };
}

function expectNear(got: ArrayLike<number>, want: ArrayLike<number>): void {
  const near = Array.from(want, (x) => (Number.isFinite(x) ? (expect.closeTo(x, 12) as number) : x));
  expect(Array.from(got)).toEqual(near);
}

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

function unitMatrix(shape: readonly number[]): HostTensor {
  const size = shape.at(-1)!;
  return tensor(
    shape,
    Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0)),
  );
}

function rowsOf({ data, shape }: HostTensor): number[][] {
  const size = shape.at(-1)!;
  return Array.from({ length: data.length / size }, (_, row) => [
    ...data.subarray(row * size, (row + 1) * size),
  ]);
}

/** A line per query with an x for every key that it sees. */
function seen(nQueries: number, nKeys: number, options: AttentionOptions): string[] {
  const zeros = (count: number): number[] => Array.from({ length: count }, () => 0);
  return picture(weightsByHand({ q: zeros(nQueries), k: zeros(nKeys), ...options }));
}

const picture = (weights: readonly number[][]): string[] =>
  weights.map((row) => row.map((weight) => (weight > 0 ? 'x' : '.')).join(''));

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
    { nQueries: 2, nKeys: 4, options: { causal: true }, want: ['xxx.', 'xxxx'], why: 'aligned bottom right' },
    {
      nQueries: 4,
      nKeys: 2,
      options: { causal: true },
      want: ['..', '..', 'x.', 'xx'],
      why: 'more queries than keys: the first see none',
    },
    {
      nQueries: 4,
      nKeys: 4,
      options: { windowSize: [1, 1] },
      want: ['xx..', 'xxx.', '.xxx', '..xx'],
      why: 'a window includes both of its ends',
    },
    {
      nQueries: 2,
      nKeys: 5,
      options: { windowSize: [1, 1] },
      want: ['..xxx', '...xx'],
      why: 'a window, aligned',
    },
    {
      nQueries: 5,
      nKeys: 3,
      options: { windowSize: [1, 0] },
      want: ['...', '...', 'x..', 'xx.', '.xx'],
      why: 'a window that begins before the keys',
    },
    {
      nQueries: 3,
      nKeys: 3,
      options: { windowSize: [0, -1] },
      want: ['xxx', '.xx', '..x'],
      why: 'no end on the right',
    },
    {
      nQueries: 3,
      nKeys: 3,
      options: { windowSize: [-1, 1] },
      want: ['xx.', 'xxx', 'xxx'],
      why: 'no end on the left',
    },
    {
      nQueries: 3,
      nKeys: 3,
      options: { windowSize: [1, 2], causal: true },
      want: ['x..', 'xx.', '.xx'],
      why: 'causal closes the right side of a window',
    },
    {
      nQueries: 5,
      nKeys: 5,
      options: { attentionChunk: 2 },
      want: ['xx...', 'xx...', '..xx.', '..xx.', '....x'],
      why: 'chunks',
    },
    {
      nQueries: 3,
      nKeys: 5,
      options: { attentionChunk: 3, causal: true },
      want: ['xxx..', '...x.', '...xx'],
      why: 'chunks are counted by position, and causal still holds',
    },
    {
      nQueries: 4,
      nKeys: 2,
      options: { attentionChunk: 2 },
      want: ['..', '..', 'xx', 'xx'],
      why: 'positions −2 and −1 are a chunk without keys',
    },
    {
      nQueries: 4,
      nKeys: 4,
      options: { attentionChunk: 2, windowSize: [2, 0] },
      want: ['x...', 'xx..', '..x.', '..xx'],
      why: 'a chunk cuts a window',
    },
  ] as const)('$nQueries queries, $nKeys keys, $options: $why', ({ nQueries, nKeys, options, want }) => {
    expect(seen(nQueries, nKeys, options)).toEqual(want);
  });

  test('the interval of keys is what the rules say key by key', () => {
    const mod = (x: number, c: number): number => ((x % c) + c) % c;
    for (const nKeys of [0, 1, 5])
      for (const leftpad of [0, 2])
        for (const causal of [false, true])
          for (const left of [-1, 0, 2])
            for (const right of [-1, 0, 1, 3])
              for (const chunk of [0, 1, 3])
                for (let p = -4; p < nKeys + 3; p++) {
                  const options = { causal, windowSize: [left, right], attentionChunk: chunk } as const;
                  const { begin, end } = visibleKeys(p, nKeys, leftpad, options);
                  for (let j = 0; j < nKeys; j++) {
                    const visible =
                      j >= leftpad &&
                      (!causal || j <= p) &&
                      (left < 0 || p - left <= j) &&
                      (right < 0 || j <= p + right) &&
                      (chunk === 0 || p - mod(p, chunk) === j - mod(j, chunk));
                    if (visible !== (begin <= j && j < end))
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
  const emptyCache = (nSlots: number, d: number): HostTensor =>
    tensor([1, nSlots, 1, d], Array<number>(nSlots * d).fill(NaN));

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
      kCache: emptyCache(1, 4),
      vCache: emptyCache(1, 4),
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

describe('storage: the same computation in 16 bits', () => {
  test('scores are rounded', () => {
    // 1 + 2^-12 is less than half a step of f16 above 1, and so is 1 + 2^-9 in bf16.
    expect(attnByHand({ q: [1 + 2 ** -12], k: [1], v: [1], storage: 'f16' }).lse.data[0]).toBe(1);
    expect(attnByHand({ q: [1 + 2 ** -9], k: [1], v: [1], storage: 'bf16' }).lse.data[0]).toBe(1);
  });

  test('each step of the softcap is rounded', () => {
    const f16 = (x: number): number => roundTo('f16', x);
    const { lse } = attnByHand({ q: [1], k: [1], v: [1], softcap: 3, storage: 'f16' });
    expect(lse.data[0]).toBe(f16(3 * f16(tanh(f16(1 / 3)))));
  });

  test('probabilities and outputs are rounded', () => {
    const third = roundTo('bf16', 1 / 3);
    expect(weightsByHand({ q: [1], k: [0, 0, 0], storage: 'bf16' })).toEqual([[third, third, third]]);
    const { out } = attnByHand({ q: [1], k: [0, 0, 0], v: [1, 0, 8], storage: 'bf16' });
    expect(out.data[0]).toBe(roundTo('bf16', third + 8 * third));
  });

  test('products are summed in f32', () => {
    // 2^24 + 1 is 2^24 in f32. The zeros between are for a dot product that keeps four sums.
    const q = tensor([1, 1, 1, 9], [2 ** 12, 0, 0, 0, 1, 0, 0, 0, 2 ** 12]);
    const k = tensor([1, 1, 1, 9], [2 ** 12, 0, 0, 0, 1, 0, 0, 0, -(2 ** 12)]);
    expect(attnReference({ q, k, v: k, softmaxScale: 1 }).lse.data[0]).toBe(1);
    expect(attnReference({ q, k, v: k, softmaxScale: 1, storage: 'f16' }).lse.data[0]).toBe(0);

    const sum = { q: [0], k: [0, 0, 0, 0], v: [2 ** 26, 4, -(2 ** 26), 0] };
    expect(attnByHand(sum).out.data[0]).toBe(1);
    expect(attnByHand({ ...sum, storage: 'bf16' }).out.data[0]).toBe(0);
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

describe('mergeStates', () => {
  const part = (out: number[], lse: number[]): AttentionResult => ({
    out: tensor([lse.length, 1, out.length / lse.length], out),
    lse: tensor([1, lse.length], lse),
  });

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

  test('and in the layout of varlen', () => {
    const random = new Random(4);
    const q = randomTensor(random, [5, 4, 8]);
    const k = randomTensor(random, [12, 2, 8]);
    const v = randomTensor(random, [12, 2, 6]);
    const cuSeqlensQ = [0, 2, 5];
    const of = (cuSeqlensK: HostInts, sequsedK?: HostInts): AttentionResult =>
      attnVarlenReference({ q, k, v, cuSeqlensQ, cuSeqlensK, sequsedK });
    // Sequence 0 has keys 0 to 6, sequence 1 keys 7 to 11; the parts end at 3 and at 9.
    const parts = [of([0, 7, 12], [3, 2]), of([3, 9, 12], [4, 3])];
    expectAlike(mergeStatesReference(parts), of([0, 7, 12]));
  });
});

interface DenseSizes {
  readonly b: number;
  readonly sq: number;
  readonly sk: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly d: number;
  readonly dv: number;
}

interface Dense {
  readonly q: HostTensor;
  readonly k: HostTensor;
  readonly v: HostTensor;
}

function randomDense(random: Random, { b, sq, sk, nHeads, nKvHeads, d, dv }: DenseSizes): Dense {
  return {
    q: randomTensor(random, [b, sq, nHeads, d]),
    k: randomTensor(random, [b, sk, nKvHeads, d]),
    v: randomTensor(random, [b, sk, nKvHeads, dv]),
  };
}

/** N(0, 1) in any shape. */
function randomTensor(random: Random, shape: readonly number[]): HostTensor {
  return {
    shape,
    data: random.normals(shape.reduce((product, size) => product * size, 1)),
  };
}

/** Keys from ≤ j < to of [B, Sk, Hkv, D]. */
function keysOf({ data, shape }: HostTensor, from: number, to: number): HostTensor {
  const [b, sk, nKvHeads, d] = shape as [number, number, number, number];
  const perKey = nKvHeads * d;
  const kept = Array.from({ length: b }, (_, row) => [
    ...data.subarray((row * sk + from) * perKey, (row * sk + to) * perKey),
  ]);
  return tensor([b, to - from, nKvHeads, d], kept.flat());
}

/** The same numbers under another shape. */
const reshaped = ({ data }: HostTensor, shape: readonly number[]): HostTensor => ({ data, shape });

function expectAlike(got: AttentionResult, want: AttentionResult): void {
  expect(got.out.shape).toEqual(want.out.shape);
  expect(got.lse.shape).toEqual(want.lse.shape);
  expectNear(got.out.data, want.out.data);
  expectNear(got.lse.data, want.lse.data);
}

interface PagedSizes extends Pick<DenseSizes, 'sq' | 'nHeads' | 'nKvHeads' | 'd'> {
  readonly lengths: readonly number[];
  readonly pageSize: number;
}

interface Paged {
  readonly q: HostTensor;
  readonly kCache: HostTensor;
  readonly vCache: HostTensor;
  readonly cacheSeqlens: readonly number[];
  readonly blockTable: Int32Array;
}

/** Sequences on random pages among three times as many; slots that hold no key are NaN. */
function randomPaged(random: Random, { lengths, pageSize, sq, nHeads, nKvHeads, d }: PagedSizes): Paged {
  const width = Math.ceil(Math.max(...lengths) / pageSize);
  const nPages = 3 * width * lengths.length;
  const blockTable = random.permutation(nPages).subarray(0, width * lengths.length);
  const shape = [nPages, pageSize, nKvHeads, d];
  const kCache = new Float32Array(nPages * pageSize * nKvHeads * d).fill(NaN);
  const vCache = kCache.slice();
  lengths.forEach((length, b) => {
    for (let j = 0; j < length; j++) {
      const page = blockTable[b * width + Math.floor(j / pageSize)]!;
      const slot = (page * pageSize + (j % pageSize)) * nKvHeads * d;
      kCache.set(random.normals(nKvHeads * d), slot);
      vCache.set(random.normals(nKvHeads * d), slot);
    }
  });
  return {
    q: randomTensor(random, [lengths.length, sq, nHeads, d]),
    kCache: { shape, data: kCache },
    vCache: { shape, data: vCache },
    cacheSeqlens: lengths,
    blockTable,
  };
}

describe('identities', () => {
  const SIZES: DenseSizes = { b: 2, sq: 7, sk: 19, nHeads: 6, nKvHeads: 2, d: 8, dv: 5 };
  const EVERYTHING = {
    causal: true,
    windowSize: [9, 2],
    softcap: 5,
    attentionChunk: 8,
    alibiSlopes: [0.1, 0.2, 0.3, 0.25, 0.15, 0.05],
    sinks: [0.5, -1, 2, 0, 1, -3],
  } as const;
  const random = new Random(5);
  const dense = randomDense(random, SIZES);

  test('grouped heads are repeated heads', () => {
    const repeat = ({ data, shape }: HostTensor): HostTensor => {
      const d = shape[3]!;
      const heads = Array.from({ length: data.length / d }, (_, i) => data.subarray(i * d, (i + 1) * d));
      const repeated = heads.flatMap((head) => [...head, ...head, ...head]);
      return tensor([SIZES.b, SIZES.sk, SIZES.nHeads, d], repeated);
    };
    const { q, k, v } = dense;
    expect(attnReference({ q, k: repeat(k), v: repeat(v), ...EVERYTHING })).toEqual(
      attnReference({ ...dense, ...EVERYTHING }),
    );
  });

  test('a window that covers all keys is none, and so is a chunk', () => {
    const want = attnReference(dense);
    expect(attnReference({ ...dense, windowSize: [SIZES.sk, SIZES.sk] })).toEqual(want);
    expect(attnReference({ ...dense, attentionChunk: SIZES.sk })).toEqual(want);
  });

  test('a window [−1, 0] is causal', () => {
    expect(attnReference({ ...dense, windowSize: [-1, 0] })).toEqual(
      attnReference({ ...dense, causal: true }),
    );
  });

  test('a softcap that grows without limit is none; slopes of 0 and sinks of −∞ are none', () => {
    const none = attnReference(dense);
    expectAlike(attnReference({ ...dense, softcap: 1e9 }), none);
    expect(attnReference({ ...dense, alibiSlopes: [0, 0, 0, 0, 0, 0] })).toEqual(none);
    expect(attnReference({ ...dense, sinks: Array<number>(6).fill(-Infinity) })).toEqual(none);
  });

  test('the order of keys without positions changes rounding only', () => {
    const order = random.permutation(SIZES.sk);
    const shuffle = (of: HostTensor): HostTensor => {
      const [b, sk, nKvHeads, d] = of.shape as [number, number, number, number];
      const perKey = nKvHeads * d;
      const data = Array.from({ length: b }, (_, row) =>
        Array.from(order, (j) => [...of.data.subarray((row * sk + j) * perKey, (row * sk + j + 1) * perKey)]),
      );
      return tensor(of.shape, data.flat(2));
    };
    const { q, k, v } = dense;
    expectAlike(attnReference({ q, k: shuffle(k), v: shuffle(v) }), attnReference(dense));
  });

  test('equal scores give the mean of the values', () => {
    const { q, v } = dense;
    const k = tensor([SIZES.b, SIZES.sk, 2, 8], Array<number>(SIZES.b * SIZES.sk * 16).fill(1));
    const { out } = attnReference({ q, k, v });
    const mean = (b: number, kvHead: number, d: number): number => {
      let sum = 0;
      for (let j = 0; j < SIZES.sk; j++) sum += v.data[((b * SIZES.sk + j) * 2 + kvHead) * SIZES.dv + d]!;
      return sum / SIZES.sk;
    };
    const want = Array.from(out.data, (_, i) => {
      const head = Math.floor(i / SIZES.dv) % SIZES.nHeads;
      const b = Math.floor(i / (SIZES.dv * SIZES.nHeads * SIZES.sq));
      return mean(b, Math.floor(head / 3), i % SIZES.dv);
    });
    expectNear(out.data, want);
  });

  test('dense is varlen with equal lengths is a full cache', () => {
    const { q, k, v } = dense;
    const { b, sq, sk, nHeads, nKvHeads, d, dv } = SIZES;
    const want = attnReference({ ...dense, ...EVERYTHING });
    const varlen = attnVarlenReference({
      q: reshaped(q, [b * sq, nHeads, d]),
      k: reshaped(k, [b * sk, nKvHeads, d]),
      v: reshaped(v, [b * sk, nKvHeads, dv]),
      cuSeqlensQ: [0, sq, 2 * sq],
      cuSeqlensK: [0, sk, 2 * sk],
      ...EVERYTHING,
    });
    expect(varlen.out.data).toEqual(want.out.data);
    const cached = attnWithKvCacheReference({ q, kCache: k, vCache: v, cacheSeqlens: sk, ...EVERYTHING });
    expect(cached.out).toEqual(want.out);
    expect(cached.lse).toEqual(want.lse);
    const ragged = attnWithKvCacheReference({
      q: reshaped(q, [b * sq, nHeads, d]),
      kCache: k,
      vCache: v,
      cacheSeqlens: sk,
      cuSeqlensQ: [0, sq, 2 * sq],
      ...EVERYTHING,
    });
    expect(ragged.out.data).toEqual(want.out.data);
    expect(ragged.lse).toEqual(varlen.lse);
  });

  test('sequences end to end give what each gives alone', () => {
    const cuSeqlensQ = [0, 3, 3, 4, 9];
    const cuSeqlensK = [0, 5, 9, 9, 20];
    const q = randomTensor(random, [9, 6, 8]);
    const k = randomTensor(random, [20, 2, 8]);
    const v = randomTensor(random, [20, 2, 5]);
    const alibiSlopes = random.uniforms(4 * 6, 0, 0.3);
    const together = attnVarlenReference({ q, k, v, cuSeqlensQ, cuSeqlensK, ...EVERYTHING, alibiSlopes });
    const rows = (of: HostTensor, from: number, to: number): HostTensor => {
      const [, nHeads, d] = of.shape as [number, number, number];
      return tensor([1, to - from, nHeads, d], of.data.subarray(from * nHeads * d, to * nHeads * d));
    };
    for (let b = 0; b < 4; b++) {
      const [fromQ, toQ, fromK, toK] = [
        cuSeqlensQ[b]!,
        cuSeqlensQ[b + 1]!,
        cuSeqlensK[b]!,
        cuSeqlensK[b + 1]!,
      ];
      const alone = attnReference({
        q: rows(q, fromQ, toQ),
        k: rows(k, fromK, toK),
        v: rows(v, fromK, toK),
        ...EVERYTHING,
        alibiSlopes: alibiSlopes.slice(b * 6, (b + 1) * 6),
      });
      expect(rows(together.out, fromQ, toQ)).toEqual(alone.out);
      for (let head = 0; head < 6; head++)
        expect(together.lse.data.slice(head * 9 + fromQ, head * 9 + toQ)).toEqual(
          alone.lse.data.slice(head * (toQ - fromQ), (head + 1) * (toQ - fromQ)),
        );
    }
  });

  const paged = randomPaged(random, {
    lengths: [13, 0, 20, 1],
    pageSize: 3,
    sq: 4,
    nHeads: 6,
    nKvHeads: 2,
    d: 8,
  });

  test('which pages hold the keys changes nothing', () => {
    const { kCache, vCache, blockTable } = paged;
    const newId = random.permutation(kCache.shape[0]!);
    const move = ({ data, shape }: HostTensor): HostTensor => {
      const perPage = data.length / shape[0]!;
      const moved = data.slice();
      newId.forEach((to, from) =>
        moved.set(data.subarray(from * perPage, (from + 1) * perPage), to * perPage),
      );
      return { shape, data: moved };
    };
    const moved = {
      kCache: move(kCache),
      vCache: move(vCache),
      blockTable: blockTable.map((id) => newId[id]!),
    };
    const { out, lse } = attnWithKvCacheReference({ ...paged, ...moved, ...EVERYTHING });
    const want = attnWithKvCacheReference({ ...paged, ...EVERYTHING });
    expect(out).toEqual(want.out);
    expect(lse).toEqual(want.lse);
  });

  test('a fork, which shares the pages of its parent, is its parent', () => {
    const { q, blockTable } = paged;
    const width = blockTable.length / 4;
    const parent = blockTable.subarray(2 * width, 3 * width);
    const perSequence = q.data.length / 4;
    const query = q.data.subarray(0, perSequence);
    const { out, lse } = attnWithKvCacheReference({
      ...paged,
      q: tensor([2, 4, 6, 8], [...query, ...query]),
      blockTable: [...parent, ...parent],
      cacheSeqlens: [20, 20],
      causal: true,
    });
    expect(out.data.slice(perSequence)).toEqual(out.data.slice(0, perSequence));
    expect(lse.data.slice(24)).toEqual(lse.data.slice(0, 24));
  });

  test('decoding token by token through pages gives the rows of one prefill', () => {
    const { q, k, v } = randomDense(random, { ...SIZES, b: 1, sq: 11, sk: 11 });
    const want = attnReference({ q, k, v, ...EVERYTHING });
    let kCache = tensor([5, 4, 2, 8], Array<number>(5 * 4 * 16).fill(NaN));
    let vCache = tensor([5, 4, 2, 5], Array<number>(5 * 4 * 10).fill(NaN));
    for (let token = 0; token < 11; token++) {
      const step = attnWithKvCacheReference({
        q: keysOf(q, token, token + 1),
        k: keysOf(k, token, token + 1),
        v: keysOf(v, token, token + 1),
        kCache,
        vCache,
        cacheSeqlens: token,
        blockTable: [3, 0, 4],
        ...EVERYTHING,
      });
      ({ kCache, vCache } = step);
      expect(step.out).toEqual(keysOf(want.out, token, token + 1));
      for (let head = 0; head < 6; head++) expect(step.lse.data[head]).toBe(want.lse.data[head * 11 + token]);
    }
  });

  test('rotated at its position, a token appended later is a token appended at once', () => {
    const rotary = {
      rotaryCos: randomTensor(random, [6, 4]),
      rotarySin: randomTensor(random, [6, 4]),
      causal: true,
    };
    const { q, k, v } = randomDense(random, { ...SIZES, b: 1, sq: 6, sk: 6, dv: 8 });
    const kCache = tensor([1, 6, 2, 8], Array<number>(96).fill(NaN));
    const empty = { kCache, vCache: kCache };
    const atOnce = attnWithKvCacheReference({ q, k, v, ...empty, cacheSeqlens: 0, ...rotary });
    const part = (from: number, to: number): Dense => ({
      q: keysOf(q, from, to),
      k: keysOf(k, from, to),
      v: keysOf(v, from, to),
    });
    const first = attnWithKvCacheReference({ ...part(0, 4), ...empty, cacheSeqlens: 0, ...rotary });
    const later = attnWithKvCacheReference({
      ...part(4, 6),
      kCache: first.kCache,
      vCache: first.vCache,
      cacheSeqlens: 4,
      ...rotary,
    });
    expect(later.kCache).toEqual(atOnce.kCache);
    expect(later.vCache).toEqual(atOnce.vCache);
    expect(later.out).toEqual(keysOf(atOnce.out, 4, 6));
  });
});

describe('golden answers', () => {
  test('there are cases', () => expect(goldenNames.length).toBeGreaterThanOrEqual(8));

  test.each(goldenNames)('%s', async (name) => {
    const golden = await loadGolden(name);
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

function varlenArgs(golden: Extract<GoldenCase, { fn: 'attnVarlen' }>) {
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

  test('names a wrong shape', () => {
    expect(() => attnReference({ q: flat, k: one, v: one })).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: q must have 4 dimensions; its shape is [1, 1, 1].]`,
    );
    const heads = tensor([1, 1, 2, 1], [0, 0]);
    expect(() => attnReference({ q: one, k: heads, v: heads })).toThrowErrorMatchingInlineSnapshot(
      `[PageflashError: 1 query heads are not a multiple of 2 kv heads.]`,
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
