import { describe, expect, test } from 'vitest';
import {
  attn,
  attnVariants,
  copyPages,
  createRuntime,
  mergeStates,
  PagedKvCache,
  planAttnVarlen,
  type AttnArgs,
  type AttnVarlenArgs,
  type PagedKvCacheOptions,
  type Runtime,
} from '../../src/index.js';
import { acceptedVarlen } from '../check/acceptedCalls.js';
import { refusal, rejection } from '../check/refusal.js';
import { fakeBuffer, fakeTensor } from '../runtime/fakeDevice.js';
import { strictDevice } from '../runtime/strictDevice.js';
import { endlessArray, withHole } from './mutations.js';

const { device } = strictDevice();
const runtime = createRuntime(device);

describe('plans, states, caches and runtimes, as the fuzzer and reading have found', () => {
  const good = acceptedVarlen();

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
    // STORAGE, COPY_DST and MAP_READ: with other usages, a buffer that was unmapped stays so.
    const mappable = { ...out, buffer: fakeBuffer(out.buffer.size, 128 | 8 | 1) };
    plan.record({ out: mappable });
    Object.assign(mappable.buffer, { mapState: 'mapped' });
    expect(record({ out: mappable })).toMatchInlineSnapshot(
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
      variants({ headDim: 577, dtype: 'f32' }),
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
        "shape: attnVariants: headDim is 577; it must be 1 to 576.",
        "argument: attnVariants: dtype must be 'f32', 'f16' or 'bf16', not "toString".",
        "argument: attnVariants: group must be a whole number ≥ 1, not NaN.",
        "argument: attnVariants: paged must be true or false, not 1.",
        "argument: attnVariants: there is no argument heads. There are headDim, headDimV, dtype, kvDType, scaleDType, kvRotation, paged, returnLse, softcap, alibi, firstKeys, mask, blockMask, bias, scoreMod, maskMod, group, decodeTokens, newDType, rotary, positions, treeMask, rotarySections, weights.",
        "argument: prepare: variants must be an array, as attnVariants gives it, not undefined.",
        "argument: prepare: variants[0] must be what attnVariants gives, not a plain object.",
        "shape: createTensor: shape must be whole numbers ≥ 0, not undefined.",
        "shape: createTensor: shape must be whole numbers ≥ 0, not [4, -1].",
        "dtype: createTensor: dtype must be f32, f16, bf16, i32, u32, i8, i4 or e4m3, not "f64".",
        "argument: createTensor: label must be a string, not Symbol(label).",
        "limit: createTensor: tensor needs a buffer of 4398046511104 bytes, but this device allows 268435456. Ask for maxBufferSize, use requestDevice(), or do less at a time.",
        "limit: createTensor: tensor needs a buffer of 3.2451855365842665e+32 bytes, but this device allows 268435456. Ask for maxBufferSize, use requestDevice(), or do less at a time.",
      ]
    `);
  });
});
