import { describe, expect, test } from 'vitest';
import {
  attnReference,
  attnVarlenReference,
  attnWithKvCacheReference,
  type HostTensor,
} from '../../src/reference/attention.js';
import {
  keysOf,
  randomDense,
  randomPaged,
  randomTensor,
  tensor,
  type Dense,
  type DenseSizes,
} from './hostTensors.js';
import { expectAlike, expectNear } from './near.js';
import { Random } from '../../tools/random.js';

// Different calls that have the same result.

/** The same numbers under another shape. */
const reshaped = ({ data }: HostTensor, shape: readonly number[]): HostTensor => ({ data, shape });

/** [B, S, H, D] with each head `times` times in a row. */
function repeatHeads({ data, shape }: HostTensor, times: number): HostTensor {
  const [b, s, nHeads, d] = shape as [number, number, number, number];
  const repeated = new Float64Array(data.length * times);
  for (let head = 0; head < b * s * nHeads * times; head++) {
    const from = Math.floor(head / times) * d;
    repeated.set(data.subarray(from, from + d), head * d);
  }
  return { data: repeated, shape: [b, s, nHeads * times, d] };
}

/** Tokens from ≤ t < to of [tokens, H, D], as a batch of one. */
function tokensOf({ data, shape }: HostTensor, from: number, to: number): HostTensor {
  const [, nHeads, d] = shape as [number, number, number];
  return tensor([1, to - from, nHeads, d], data.subarray(from * nHeads * d, to * nHeads * d));
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
    const { q, k, v } = dense;
    const repeated = attnReference({ q, k: repeatHeads(k, 3), v: repeatHeads(v, 3), ...EVERYTHING });
    expect(repeated).toEqual(attnReference({ ...dense, ...EVERYTHING }));
  });

  test('a window that covers all keys changes nothing, nor does such a chunk', () => {
    const want = attnReference(dense);
    expect(attnReference({ ...dense, windowSize: [SIZES.sk, SIZES.sk] })).toEqual(want);
    expect(attnReference({ ...dense, attentionChunk: SIZES.sk })).toEqual(want);
  });

  test('a window [−1, 0] is causal', () => {
    expect(attnReference({ ...dense, windowSize: [-1, 0] })).toEqual(
      attnReference({ ...dense, causal: true }),
    );
  });

  test('a very large softcap, slopes of 0 and sinks of −∞ change nothing', () => {
    const none = attnReference(dense);
    expectAlike(attnReference({ ...dense, softcap: 1e9 }), none);
    expect(attnReference({ ...dense, alibiSlopes: [0, 0, 0, 0, 0, 0] })).toEqual(none);
    expect(attnReference({ ...dense, sinks: Array<number>(6).fill(-Infinity) })).toEqual(none);
  });

  test('the order of keys changes rounding only, if positions do not matter', () => {
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

  test('a dense batch, varlen with equal lengths and a full cache give the same', () => {
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

  test('a batch of sequences gives what each gives alone', () => {
    const cuSeqlensQ = [0, 3, 3, 4, 9];
    const cuSeqlensK = [0, 5, 9, 9, 20];
    const q = randomTensor(random, [9, 6, 8]);
    const k = randomTensor(random, [20, 2, 8]);
    const v = randomTensor(random, [20, 2, 5]);
    const alibiSlopes = random.uniforms(4 * 6, 0, 0.3);
    const together = attnVarlenReference({ q, k, v, cuSeqlensQ, cuSeqlensK, ...EVERYTHING, alibiSlopes });
    for (let b = 0; b < 4; b++) {
      const [fromQ, toQ, fromK, toK] = [
        cuSeqlensQ[b]!,
        cuSeqlensQ[b + 1]!,
        cuSeqlensK[b]!,
        cuSeqlensK[b + 1]!,
      ];
      const alone = attnReference({
        q: tokensOf(q, fromQ, toQ),
        k: tokensOf(k, fromK, toK),
        v: tokensOf(v, fromK, toK),
        ...EVERYTHING,
        alibiSlopes: alibiSlopes.slice(b * 6, (b + 1) * 6),
      });
      expect(tokensOf(together.out, fromQ, toQ)).toEqual(alone.out);
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

  test('a fork that shares the pages of its parent gives the same', () => {
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

  test('tokens appended one by one are rotated like tokens appended at once', () => {
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
