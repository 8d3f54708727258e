import { describe, expect, test } from 'vitest';
import {
  attn,
  attnVariants,
  attnVarlen,
  attnWithKvCache,
  copyPages,
  createRuntime,
  mergeStates,
  PagedKvCache,
  planAttnVarlen,
  type AttnArgs,
  type AttnVarlenArgs,
  type AttnWithKvCacheArgs,
  type PagedKvCacheOptions,
  type Runtime,
  type Tensor,
} from '../../src/index.js';
import { fakeBuffer, fakeTensor } from '../runtime/fakeDevice.js';
import { endlessArray } from './mutations.js';
import { runHostile, summary } from './runCalls.js';
import { refusal, rejection } from '../check/refusal.js';
import { LARGE_LIMITS, strictDevice } from '../runtime/strictDevice.js';

const SEED = 1;
const INPUTS = 3000;

test('spoilt arguments are refused before anything happens, or do no harm', async () => {
  const figures = await runHostile(SEED, INPUTS);
  process.stdout.write(`seed ${SEED}, ${summary(figures)}\n`);
  expect(figures.escapes).toEqual([]);
  expect(figures.inputs).toBe(INPUTS);
  expect(figures.accepted).toBeGreaterThan(INPUTS / 10);
  expect([...figures.errors.keys()].toSorted()).toEqual([
    'argument',
    'buffer',
    'dtype',
    'length',
    'limit',
    'shape',
  ]);
}, 300_000);

const { device } = strictDevice();
const runtime = createRuntime(device);

function withHole<T>(list: T[]): T[] {
  delete list[0];
  return list;
}

/** A view that takes each element from one place. */
function repeated(dtype: 'f32' | 'f16', shape: readonly number[], unit = shape.at(-1)!): Tensor {
  const strides = shape.map((_, axis) => (axis === shape.length - 1 ? 1 : 0));
  return { ...fakeTensor(dtype, [unit]), shape, strides };
}

describe('what the fuzzer and reading have found', () => {
  const good: AttnVarlenArgs = {
    q: fakeTensor('f16', [8, 4, 64]),
    k: fakeTensor('f16', [12, 2, 64]),
    v: fakeTensor('f16', [12, 2, 64]),
    cuSeqlensQ: [0, 3, 8],
    cuSeqlensK: [0, 5, 12],
  };
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
        q: repeated('f32', [2 ** 28, 1, 1]),
        k: repeated('f32', [1, 1, 1]),
        v: repeated('f32', [1, 1, 1]),
        cuSeqlensQ: [0, 2 ** 28],
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
        "buffer: attnWithKvCache: kCache and vCache overlap, so new keys and values would overwrite each other.",
        "buffer: attnWithKvCache: kCache and vCache overlap, so new keys and values would overwrite each other.",
        "shape: attnWithKvCache: elements of q overlap: its strides are [0, 0, 0, 1].",
      ]
    `);
    append(half(0), half(2)).out.buffer.destroy();
  });

  test('plans: other tensors than tensors, and keys that are values for one layer only', () => {
    const { q, k } = good;
    const out = fakeTensor('f16', [8, 4, 64]);
    const plan = planAttnVarlen(runtime, { ...good, v: k });
    const record = (tensors: unknown) => refusal(() => plan.record(tensors as object));
    expect([
      record(null),
      record({ q: 5, out }),
      record({ q: null, out }),
      record({ lse: 0, out }),
      record({ q: { ...q, shape: null }, out }),
      record({ q: { ...q, strides: null }, out }),
      record({ q: { ...q, dtype: Symbol('f16') }, out }),
      refusal(() => plan.update(null as never)),
      refusal(() => planAttnVarlen(runtime, null as unknown as AttnVarlenArgs)),
    ]).toMatchInlineSnapshot(`
      [
        "argument: planAttnVarlen.record: the arguments must be one object, not null.",
        "argument: planAttnVarlen.record: q must be a tensor, { buffer, dtype, shape }, not 5.",
        "argument: planAttnVarlen.record: q must be a tensor, { buffer, dtype, shape }, not null.",
        "argument: planAttnVarlen.record: the plan was made without lse. Make it with lse, or leave lse out.",
        "shape: planAttnVarlen.record: q must have the shape [8, 4, 64], not null.",
        "shape: planAttnVarlen.record: the strides of q must be 3 whole numbers ≥ 0, not null.",
        "dtype: planAttnVarlen.record: q is Symbol(f16), but the plan was made for f16.",
        "argument: planAttnVarlen.update: the arguments must be one object, not null.",
        "argument: planAttnVarlen: the arguments must be one object, not null.",
      ]
    `);

    const bound: GPUBindGroupDescriptor[] = [];
    const strict = strictDevice();
    const { createBindGroup } = strict.device;
    strict.device.createBindGroup = (descriptor) => (bound.push(descriptor), createBindGroup(descriptor));
    const own = createRuntime(strict.device);
    const v = fakeTensor('f16', [12, 2, 64]);
    planAttnVarlen(own, { ...good, v: k }).record({ k, v, out });
    const buffers = bound.flatMap(({ entries }) =>
      Array.from(entries, ({ resource }) => (resource as GPUBufferBinding).buffer),
    );
    expect(buffers).toContain(k.buffer);
    expect(buffers).toContain(v.buffer);
    plan.record({ out });
    Object.assign(out.buffer, { mapState: 'mapped' });
    expect(record({ out })).toMatchInlineSnapshot(
      `"buffer: planAttnVarlen.record: the buffer of out is mapped. Unmap it first."`,
    );
  });

  test('states and pages', () => {
    const part = { out: fakeTensor('f32', [2, 3, 32]), lse: fakeTensor('f32', [3, 2]) };
    const merge = (parts: unknown) => refusal(() => mergeStates(runtime, { parts } as never));
    const nothing = { out: fakeTensor('f32', [2, 3, 0]), lse: part.lse };
    expect([merge(withHole([part, part])), merge([nothing]), merge([part, 3n])]).toMatchInlineSnapshot(`
      [
        "argument: mergeStates: parts[0] must be { out, lse }, not undefined.",
        "shape: mergeStates: parts[0].out has heads of no elements.",
        "argument: mergeStates: parts[1] must be { out, lse }, not 3n.",
      ]
    `);

    const pool = fakeTensor('f32', [4, 2, 2, 8]);
    const copy = (change: object) => refusal(() => copyPages(runtime, { pools: pool, pairs: [], ...change }));
    expect([
      copy({
        pairs: [withHole([0, 1]), [2, 3]],
      }),
      copy({ pools: endlessArray() }),
    ]).toMatchInlineSnapshot(`
      [
        "argument: copyPages: pairs[0] must be the numbers of two pages, not [undefined, 1].",
        "argument: copyPages: pools[0] must be a tensor, { buffer, dtype, shape }, not undefined.",
      ]
    `);
  });

  test('lse of parts further apart than a binding can be', () => {
    const strict = strictDevice({ maxStorageBufferBindingSize: 2 ** 16 });
    const buffer = fakeBuffer(2 ** 18);
    const outs = fakeTensor('f32', [2, 2, 3, 32]);
    const parts = [0, 1].map((i) => ({
      out: { buffer: outs.buffer, dtype: 'f32' as const, shape: [2, 3, 32], offset: i * 192 },
      lse: { buffer, dtype: 'f32' as const, shape: [3, 2], offset: i * 2 ** 15 },
    }));
    mergeStates(createRuntime(strict.device), { parts });
    expect(strict.violations).toEqual([]);
  });

  test('PagedKvCache', async () => {
    const options = { nLayers: 2, nKvHeads: 1, headDim: 8, dtype: 'f16', pageSize: 4, nPages: 3 } as const;
    const create = (change: object) =>
      PagedKvCache.create(runtime, { ...options, ...change } as PagedKvCacheOptions);
    const cache = await create({});
    const layer = (index: unknown) => refusal(() => cache.layer(index as number));
    const contents = withHole([0, 1].map(() => new Uint8Array(cache.pageBytes)));
    expect([
      await rejection(create({ nLayers: 2 ** 53 - 1 })),
      await rejection(PagedKvCache.create(undefined as unknown as Runtime, options)),
      layer('0'),
      layer('length'),
      layer(Symbol('0')),
      refusal(() => cache.writePages([0, 1], contents)),
    ]).toMatchInlineSnapshot(`
      [
        "limit: PagedKvCache.create: nLayers must be at most 4096, not 9007199254740991. Make several caches.",
        "argument: PagedKvCache.create: runtime must be what createRuntime gives, not undefined.",
        "argument: PagedKvCache.layer: there are layers 0 to 1, not "0".",
        "argument: PagedKvCache.layer: there are layers 0 to 1, not "length".",
        "argument: PagedKvCache.layer: there are layers 0 to 1, not Symbol(0).",
        "argument: PagedKvCache.writePages: contents[0] must be a Uint8Array of 256 bytes, not undefined.",
      ]
    `);
    cache.destroy();
  });

  test('a cache never has more elements than kernels count', async () => {
    const strict = strictDevice({ maxStorageBufferBindingSize: 2 ** 40, maxBufferSize: 2 ** 40 });
    const options = {
      nLayers: 1,
      nKvHeads: 1,
      headDim: 128,
      dtype: 'f16',
      pageSize: 16,
      bytes: 2 ** 40,
    } as const;
    const cache = await PagedKvCache.create(createRuntime(strict.device), options);
    const { kCache } = cache.layer(0);
    expect(kCache.shape).toEqual([2 ** 21, 16, 1, 128]);
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

  test('runtimes, variants and tensors', async () => {
    const make = (target: unknown, options?: unknown) =>
      refusal(() => createRuntime(target as GPUDevice, options as object));
    const variants = (options: unknown) => refusal(() => attnVariants(runtime, options as never));
    const tensor = (shape: unknown, dtype: unknown = 'f32') =>
      refusal(() => runtime.createTensor(shape as number[], dtype as 'f32'));
    expect([
      make(undefined),
      make({ limits: 5 }),
      make(device, null),
      make(device, { profile: 'yes' }),
      refusal(() => attn(undefined as unknown as Runtime, {} as AttnArgs)),
      variants(undefined),
      variants({ headDim: 257, dtype: 'f32' }),
      variants({ headDim: 64, dtype: 'toString' }),
      variants({ headDim: 64, dtype: 'f32', group: NaN }),
      variants({ headDim: 64, dtype: 'f32', paged: 1 }),
      variants({ headDim: 64, dtype: 'f32', heads: 1 }),
      await rejection(runtime.prepare(undefined as never)),
      await rejection(runtime.prepare([{}] as never)),
      tensor(undefined),
      tensor([4, -1]),
      tensor([4], 'f64'),
      refusal(() => runtime.createTensor([4], 'f32', Symbol('label') as never)),
      tensor([2 ** 40]),
      tensor([2 ** 53 - 1, 2 ** 53 - 1]),
    ]).toMatchInlineSnapshot(`
      [
        "argument: createRuntime: device must be a GPUDevice, not undefined.",
        "argument: createRuntime: device must be a GPUDevice, not a plain object.",
        "argument: createRuntime: the arguments must be one object, not null.",
        "argument: createRuntime: profile must be true or false, not "yes".",
        "argument: attn: runtime must be what createRuntime gives, not undefined.",
        "argument: attnVariants: the arguments must be one object, not undefined.",
        "shape: attnVariants: headDim is 257; it must be 1 to 256.",
        "argument: attnVariants: dtype must be 'f32', 'f16' or 'bf16', not "toString".",
        "argument: attnVariants: group must be a whole number ≥ 1, not NaN.",
        "argument: attnVariants: paged must be true or false, not 1.",
        "argument: attnVariants: there is no argument heads. There are headDim, headDimV, dtype, kvDType, paged, softcap, alibi, group, decodeTokens, newDType, rotary.",
        "argument: prepare: variants must be an array, as attnVariants gives it, not undefined.",
        "argument: prepare: variants[0] must be what attnVariants gives, not a plain object.",
        "shape: createTensor: shape must be whole numbers ≥ 0, not undefined.",
        "shape: createTensor: shape must be whole numbers ≥ 0, not [4, -1].",
        "dtype: createTensor: dtype must be f32, f16, bf16, i32 or u32, not "f64".",
        "argument: createTensor: label must be a string, not Symbol(label).",
        "limit: createTensor: tensor needs a buffer of 4398046511104 bytes, but this device allows 268435456. Ask for maxBufferSize, use requestDevice(), or do less at a time.",
        "limit: createTensor: tensor needs a buffer of 3.2451855365842665e+32 bytes, but this device allows 268435456. Ask for maxBufferSize, use requestDevice(), or do less at a time.",
      ]
    `);
  });
});
