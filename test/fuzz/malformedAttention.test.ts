import { describe, expect, test } from 'vitest';
import {
  attn,
  attnVarlen,
  attnWithKvCache,
  createRuntime,
  planAttnVarlen,
  type AttnArgs,
  type AttnVarlenArgs,
  type AttnWithKvCacheArgs,
  type Tensor,
} from '../../src/index.js';
import { acceptedVarlen } from '../check/acceptedCalls.js';
import { refusal } from '../check/refusal.js';
import { fakeBuffer, fakeTensor } from '../runtime/fakeDevice.js';
import { LARGE_LIMITS, strictDevice } from '../runtime/strictDevice.js';
import { endlessArray, withHole } from './mutations.js';

const runtime = createRuntime(strictDevice().device);

/** A view that takes each element from one place. */
function repeated(dtype: 'f32' | 'f16', shape: readonly number[], unit = shape.at(-1)!): Tensor {
  const strides = shape.map((_, axis) => (axis === shape.length - 1 ? 1 : 0));
  return { ...fakeTensor(dtype, [unit]), shape, strides };
}

describe('attention, as the fuzzer and reading have found', () => {
  const good = acceptedVarlen();
  const pages = fakeTensor('f16', [6, 4, 2, 64]);
  const message = (change: object) => refusal(() => attnVarlen(runtime, { ...good, ...change }));

  test('holes, symbols, and arrays without end', () => {
    const endless = endlessArray();
    const hole = withHole([8, 4, 64]);
    expect([
      message({ q: { ...good.q, shape: hole } }),
      message({ q: { ...good.q, strides: hole } }),
      message({ q: { ...good.q, shape: endless } }),
      message({ q: { ...good.q, shape: [Symbol('n'), 4, 64] } }),
      message({ q: { ...good.q, dtype: Object.create(null) as unknown } }),
      message({ q: { ...good.q, offset: Object.create(null) as unknown } }),
      message({ windowSize: hole.slice(0, 2) }),
      message({ windowSize: endless }),
      message({ cuSeqlensQ: endless }),
      message({ cuSeqlensQ: [0, Symbol('n'), 8] }),
      message({ sinks: new BigInt64Array(4) }),
      message({ sinks: ['1', '2', '3', '4'] }),
      message({ sinks: [0, 1e300, 0, 0] }),
    ]).toMatchInlineSnapshot(`
      [
        "shape: attnVarlen: q must have the shape [totalQ, Hq, D], not [undefined, 4, 64].",
        "shape: attnVarlen: the strides of q must be 3 whole numbers ≥ 0, not [undefined, 4, 64].",
        "shape: attnVarlen: q must have the shape [totalQ, Hq, D], not [undefined, undefined, undefined, undefined, undefined, undefined, undefined, undefined, undefined, undefined, undefined, undefined, … 4294967295 in all].",
        "shape: attnVarlen: q must have the shape [totalQ, Hq, D], not [Symbol(n), 4, 64].",
        "dtype: attnVarlen: q must be f32, f16 or bf16, not a plain object.",
        "shape: attnVarlen: the offset of q must be a whole number ≥ 0, not a plain object.",
        "argument: attnVarlen: windowSize must be [left, right], whole numbers ≥ −1, not [undefined, 4].",
        "argument: attnVarlen: windowSize must be [left, right], whole numbers ≥ −1, not [undefined, undefined, undefined, undefined, undefined, undefined, undefined, undefined, undefined, undefined, undefined, undefined, … 4294967295 in all].",
        "limit: attnVarlen: there are 4294967294 sequences, but a call takes at most 1048576. Make several calls.",
        "argument: attnVarlen: cuSeqlensQ[1] must be a whole number of 32 bits, not Symbol(n).",
        "argument: attnVarlen: sinks[0] must be a finite number or -Infinity, not 0n.",
        "argument: attnVarlen: sinks[0] must be a finite number or -Infinity, not "1".",
        "argument: attnVarlen: sinks[1] must be a finite number or -Infinity, not 1e+300.",
      ]
    `);
  });

  test('factors that are out of the range of f32', () => {
    expect([message({ softmaxScale: 1e300 }), message({ softcap: 1e300 }), message({ softcap: 1e-300 })])
      .toMatchInlineSnapshot(`
      [
        "argument: attnVarlen: softmaxScale 1e+300 with softcap 0 is out of the range of f32. Pass less extreme numbers.",
        "argument: attnVarlen: softmaxScale 0.125 with softcap 1e+300 is out of the range of f32. Pass less extreme numbers.",
        "argument: attnVarlen: softmaxScale 0.125 with softcap 1e-300 is out of the range of f32. Pass less extreme numbers.",
      ]
    `);
  });

  test('differences and sums that leave 32 bits', () => {
    const cache: AttnWithKvCacheArgs = {
      q: fakeTensor('f32', [1, 1, 2, 32]),
      k: fakeTensor('f32', [1, 1, 2, 32]),
      v: fakeTensor('f32', [1, 1, 2, 32]),
      kCache: fakeTensor('f32', [1, 8, 2, 32]),
      vCache: fakeTensor('f32', [1, 8, 2, 32]),
      cacheSeqlens: [2 ** 31 - 1],
    };
    expect([
      message({ cuSeqlensQ: [0, -(2 ** 31) + 1, 8] }),
      message({ cuSeqlensQ: [0, 8, -(2 ** 31) + 1] }),
      refusal(() => attnWithKvCache(runtime, cache)),
      refusal(() => attnWithKvCache(runtime, { ...cache, cacheBatchIdx: fakeTensor('i32', [1]) })),
      refusal(() => attnWithKvCache(runtime, { ...cache, cacheSeqlens: NaN })),
    ]).toMatchInlineSnapshot(`
      [
        "length: attnVarlen: cuSeqlensQ must not decrease, but cuSeqlensQ[0] is 0 and cuSeqlensQ[1] is -2147483647.",
        "length: attnVarlen: cuSeqlensQ must not decrease, but cuSeqlensQ[1] is 8 and cuSeqlensQ[2] is -2147483647.",
        "length: attnWithKvCache: sequence 0 needs 2147483647 slots but a row of kCache has 8. Pass a longer cache, or pages.",
        "length: attnWithKvCache: sequence 0 needs 2147483647 slots but a row of kCache has 8. Pass a longer cache, or pages.",
        "argument: attnWithKvCache: cacheSeqlens[0] must be a whole number of 32 bits, not NaN.",
      ]
    `);
  });

  test('lengths on the host beside others on the GPU', () => {
    const paged = {
      k: pages,
      v: { ...pages },
      cuSeqlensK: undefined,
      blockTable: [0, 1, 2, 3],
      maxSeqlenQ: 8,
    };
    expect([
      message({ ...paged, cuSeqlensQ: fakeTensor('i32', [3]), sequsedK: [9, 1] }),
      refusal(() =>
        attnWithKvCache(runtime, {
          q: fakeTensor('f32', [2, 2, 32]),
          cuSeqlensQ: fakeTensor('i32', [2]),
          maxSeqlenQ: 2,
          kCache: fakeTensor('f32', [1, 8, 2, 32]),
          vCache: fakeTensor('f32', [1, 8, 2, 32]),
          k: fakeTensor('f32', [2, 2, 32]),
          v: fakeTensor('f32', [2, 2, 32]),
          cuSeqlensKNew: fakeTensor('i32', [2]),
          cacheSeqlens: [9],
        }),
      ),
    ]).toMatchInlineSnapshot(`
      [
        "length: attnVarlen: sequence 0 needs 3 pages for 9 keys but its row of blockTable has 2. Reserve pages first, or pass a wider table.",
        "length: attnWithKvCache: sequence 0 needs 9 slots but a row of kCache has 8. Pass a longer cache, or pages.",
      ]
    `);
  });

  test('sizes that no list and no kernel can count', () => {
    const dense = (q: readonly number[], k = q): AttnArgs => ({
      q: repeated('f32', q),
      k: repeated('f32', k),
      v: repeated('f32', k),
    });
    const call = (args: AttnArgs) => refusal(() => attn(runtime, args));
    expect([
      call(dense([2 ** 40, 1, 2, 32])),
      call(dense([2 ** 30, 1, 2, 32])),
      call(dense([2 ** 30, 0, 2, 32])),
      call(dense([1, 2 ** 30 + 1, 1, 1])),
      call(dense([1, 2 ** 24, 64, 1])),
      call(dense([1, 1, 2 ** 30, 1], [1, 1, 1, 1])),
      call({ ...dense([1, 4, 2 ** 25, 1]), numSplits: 2 ** 31 - 1 }),
    ]).toMatchInlineSnapshot(`
      [
        "limit: attn: q is [1099511627776, 1, 2, 32], but kernels count only to 2147483647 in each dimension. Split it.",
        "limit: attn: there are 1073741824 sequences, but a call takes at most 1048576. Make several calls.",
        "limit: attn: there are 1073741824 sequences, but a call takes at most 1048576. Make several calls.",
        "limit: attn: sequence 0 has 1073741825 queries, but kernels count to 1073741824. Split it.",
        "limit: attn: out needs a buffer of 4294967296 bytes, but this device allows 268435456. Ask for maxBufferSize, use requestDevice(), or do less at a time.",
        "limit: attn: out needs a buffer of 4294967296 bytes, but this device allows 268435456. Ask for maxBufferSize, use requestDevice(), or do less at a time.",
        "limit: attn: out needs a buffer of 536870912 bytes, but this device allows 268435456. Ask for maxBufferSize, use requestDevice(), or do less at a time.",
      ]
    `);
  });

  test('work that no list and no dispatch can hold', () => {
    const nHeads = 2 ** 17;
    const n = 2 ** 16;
    const plan = (args: AttnVarlenArgs) => refusal(() => planAttnVarlen(runtime, args));
    expect([
      plan({
        q: repeated('f32', [n, nHeads, 1]),
        k: repeated('f32', [1, nHeads, 1]),
        v: repeated('f32', [1, nHeads, 1]),
        cuSeqlensQ: Int32Array.from({ length: n + 1 }, (_, b) => b),
        cuSeqlensK: new Int32Array(n + 1).fill(1).fill(0, 0, 1),
      }),
      plan({
        q: repeated('f32', [2 ** 29, 1, 1]),
        k: repeated('f32', [1, 1, 1]),
        v: repeated('f32', [1, 1, 1]),
        cuSeqlensQ: [0, 2 ** 29],
        cuSeqlensK: [0, 1],
      }),
      refusal(() =>
        attnWithKvCache(runtime, {
          q: fakeTensor('f32', [2048, 1, 2]),
          cuSeqlensQ: fakeTensor('i32', [2049]),
          maxSeqlenQ: 1,
          kCache: fakeTensor('f32', [2048, 8, 1, 2]),
          vCache: fakeTensor('f32', [2048, 8, 1, 2]),
          k: repeated('f32', [2 ** 13, 1, 2]),
          v: repeated('f32', [2 ** 13, 1, 2]),
          cuSeqlensKNew: fakeTensor('i32', [2049]),
          cacheSeqlens: fakeTensor('i32', [2048]),
        }),
      ),
    ]).toMatchInlineSnapshot(`
      [
        "limit: planAttnVarlen: attn_decode needs 8590000125 workgroups of 128, but there can be 65535² of them, with 2³² invocations. Do less at a time.",
        "limit: planAttnVarlen: there are 8388608 tiles of queries and keys, but a call takes at most 4194304. Pass fewer sequences, or lower maxSeqlenQ and numSplits.",
        "limit: attnWithKvCache: there are 16777216 new tokens, but a call takes at most 4194304. Pass fewer sequences, or lower maxSeqlenQ and numSplits.",
      ]
    `);
  });

  test('a cache without rows, and rows from the GPU', () => {
    const none = fakeTensor('f32', [0, 8, 2, 32]);
    expect(
      refusal(() =>
        attnWithKvCache(runtime, {
          q: fakeTensor('f32', [1, 1, 2, 32]),
          kCache: none,
          vCache: none,
          cacheSeqlens: fakeTensor('i32', [1]),
          cacheBatchIdx: fakeTensor('i32', [1]),
        }),
      ),
    ).toMatchInlineSnapshot(`"shape: attnWithKvCache: kCache has no rows."`);
  });

  test('what is written lies apart', () => {
    const k = fakeTensor('f32', [1, 1, 2, 32]);
    const cache = fakeTensor('f32', [2, 8, 4, 32]);
    const half = (head: number, from = cache): Tensor => ({
      ...from,
      shape: [2, 8, 2, 32],
      strides: [8 * 4 * 32, 4 * 32, 32, 1],
      offset: head * 32,
    });
    const append = (kCache: Tensor, vCache: Tensor, rest: object = {}) => {
      const args = { q: fakeTensor('f32', [1, 1, 2, 32]), k, v: k, kCache, vCache, cacheSeqlens: 3, ...rest };
      return attnWithKvCache(runtime, args as AttnWithKvCacheArgs);
    };
    const angles = { rotaryCos: new Float32Array(64), rotarySin: new Float32Array(64), rotaryDim: 2 };
    expect([
      refusal(() => append(half(0), half(0))),
      refusal(() => append(half(0), half(1))),
      refusal(() => append(half(0), half(2), { q: repeated('f32', [1, 2, 2, 32]), ...angles })),
    ]).toMatchInlineSnapshot(`
      [
        "argument: attnWithKvCache: vCache is a view of kCache, so new keys bring their values with them. Leave v out.",
        "buffer: attnWithKvCache: kCache and vCache overlap, so new keys and values would overwrite each other.",
        "shape: attnWithKvCache: elements of q overlap: its strides are [0, 0, 0, 1].",
      ]
    `);
    append(half(0), half(2)).out.buffer.destroy();
  });

  test('bindings of more than 2 GiB', () => {
    const large = strictDevice(LARGE_LIMITS);
    const wide = createRuntime(large.device);
    // 2³¹ − 8192 elements of f16, just below 4 GiB, and the last of them are asked for.
    const nPages = 2 ** 18 - 1;
    const pool = fakeTensor('f16', [nPages, 16, 4, 128]);
    const args: AttnVarlenArgs = {
      q: fakeTensor('f16', [1, 4, 128]),
      k: pool,
      v: { ...pool, buffer: fakeBuffer(pool.buffer.size) },
      cuSeqlensQ: [0, 1],
      sequsedK: [16],
      blockTable: [nPages - 1],
    };
    attnVarlen(wide, args);
    expect(large.violations).toEqual([]);
    const more = fakeTensor('f16', [nPages + 1, 16, 4, 128]);
    expect(refusal(() => attnVarlen(wide, { ...args, k: more, v: more }))).toMatchInlineSnapshot(
      `"limit: attnVarlen: k spans 4294967296 bytes, but this device binds at most 4294967292. Ask for maxStorageBufferBindingSize, use requestDevice(), or split the tensor."`,
    );
  });
});
