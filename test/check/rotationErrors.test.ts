import { expect, test } from 'vitest';
import {
  attnVariants,
  attnVarlen,
  attnWeights,
  attnWithKvCache,
  createRuntime,
  PagedKvCache,
  planAttnWithKvCache,
  prepareModel,
  type AttnVarlenArgs,
  type AttnWithKvCacheArgs,
} from '../../src/index.js';
import { contiguousStrides } from '../../src/core/tensor.js';
import { fakeDevice, fakeTensor } from '../runtime/fakeDevice.js';
import { strictDevice } from '../runtime/strictDevice.js';
import { refusal, rejection } from './refusal.js';

// Errors must be thrown before the device is used: this one fails if it is.
const runtime = createRuntime(fakeDevice());

const shape = [6, 4, 2, 64];
const cached: AttnWithKvCacheArgs = {
  q: fakeTensor('f16', [2, 2, 4, 64]),
  kCache: fakeTensor('i8', shape),
  vCache: fakeTensor('i8', shape),
  kScale: fakeTensor('f16', [6, 4, 2]),
  vScale: fakeTensor('f16', [6, 4, 2]),
  cacheSeqlens: [1, 1],
  blockTable: [0, 1, 2, 3],
  kvRotation: 'hadamard',
};

const withCache = (change: object) =>
  refusal(() => attnWithKvCache(runtime, { ...cached, ...change } as AttnWithKvCacheArgs));

test('heads that cannot be turned', () => {
  const keys = fakeTensor('e4m3', [6, 4, 2, 64]);
  const inKeys = { ...keys, shape: [6, 4, 2, 32], strides: contiguousStrides(shape) };
  const odd = { q: fakeTensor('f16', [2, 2, 4, 80]), kCache: fakeTensor('i8', [6, 4, 2, 80]) };
  expect([
    withCache({ kvRotation: 'fourier' }),
    withCache({ kvRotation: true }),
    ...(['f32', 'f16', 'bf16'] as const).map((dtype) => {
      const cache = fakeTensor(dtype, shape);
      return withCache({
        kCache: cache,
        vCache: fakeTensor(dtype, shape),
        kScale: undefined,
        vScale: undefined,
      });
    }),
    withCache(odd),
    withCache({ vCache: fakeTensor('i8', [6, 4, 2, 48]) }),
    withCache({ kCache: keys, vCache: inKeys, kScale: undefined, vScale: undefined }),
    withCache({ q: fakeTensor('f16', [2, 2, 4, 64], { strides: [0, 256, 64, 1] }) }),
  ]).toMatchInlineSnapshot(`
    [
      "argument: attnWithKvCache: kvRotation must be 'hadamard', not "fourier".",
      "argument: attnWithKvCache: kvRotation must be 'hadamard', not true.",
      "argument: attnWithKvCache: kvRotation turns heads for the sake of quantised caches, but kCache is f32. Leave it out, or use a cache of i8, i4 or e4m3.",
      "argument: attnWithKvCache: kvRotation turns heads for the sake of quantised caches, but kCache is f16. Leave it out, or use a cache of i8, i4 or e4m3.",
      "argument: attnWithKvCache: kvRotation turns heads for the sake of quantised caches, but kCache is bf16. Leave it out, or use a cache of i8, i4 or e4m3.",
      "shape: attnWithKvCache: kCache has head size 80; kvRotation needs powers of two. Leave it out.",
      "shape: attnWithKvCache: vCache has head size 48; kvRotation needs powers of two. Leave it out.",
      "argument: attnWithKvCache: kvRotation is given, but vCache is a view of kCache: some elements of a turned key are not the turned value. Leave it out.",
      "shape: attnWithKvCache: elements of q overlap: its strides are [0, 256, 64, 1].",
    ]
  `);
});

test('other calls', async () => {
  const { kCache, vCache, kScale, vScale, blockTable } = cached;
  const q = fakeTensor('f16', [4, 4, 64]);
  const pages: AttnVarlenArgs = {
    q,
    k: kCache,
    v: vCache,
    kScale,
    vScale,
    blockTable,
    cuSeqlensQ: [0, 2, 4],
    sequsedK: [4, 4],
    kvRotation: 'hadamard',
  };
  const endToEnd = { k: fakeTensor('f16', [8, 2, 64]), v: fakeTensor('f16', [8, 2, 64]) };
  const model = {
    nHeads: 4,
    nKvHeads: 2,
    headDim: 64,
    dtype: 'f16',
    kvDType: 'i8',
    paged: true,
    maxTokens: 4,
    kvRotation: 'hadamard',
  } as const;
  const cache = { nLayers: 1, nKvHeads: 2, headDim: 64, dtype: 'i8', pageSize: 4, nPages: 2 } as const;
  const turned = { ...cache, kvRotation: 'hadamard' } as const;
  expect([
    refusal(() =>
      attnVarlen(runtime, {
        ...pages,
        ...endToEnd,
        blockTable: undefined,
        sequsedK: undefined,
        cuSeqlensK: [0, 4, 8],
        kScale: undefined,
        vScale: undefined,
      }),
    ),
    refusal(() => attnVarlen(runtime, { ...pages, v: fakeTensor('i8', [6, 4, 2, 24]) })),
    refusal(() =>
      attnWeights(runtime, {
        ...cached,
        kCache: fakeTensor('f16', shape),
        kScale: undefined,
        rows: [0],
        lse: fakeTensor('f32', [2, 4, 2]),
      }),
    ),
    await rejection(prepareModel(runtime, { ...model, kvDType: 'f16' })),
    await rejection(prepareModel(runtime, { ...model, headDim: 96 })),
    await rejection(prepareModel(runtime, { ...model, valuesInKeys: true, headDimV: 32 })),
    refusal(() => attnVariants(runtime, { headDim: 64, dtype: 'f16', kvRotation: 'hadamard' })),
    await rejection(PagedKvCache.create(runtime, { ...turned, dtype: 'bf16' })),
    await rejection(PagedKvCache.create(runtime, { ...turned, headDimV: 80 })),
    await rejection(PagedKvCache.create(runtime, { ...turned, kvRotation: 'none' as 'hadamard' })),
  ]).toMatchInlineSnapshot(`
    [
      "argument: attnVarlen: kvRotation turns heads for the sake of quantised caches, but k is f16. Leave it out, or use a cache of i8, i4 or e4m3.",
      "shape: attnVarlen: v has head size 24; kvRotation needs powers of two. Leave it out.",
      "argument: attnWeights: kvRotation turns heads for the sake of quantised caches, but kCache is f16. Leave it out, or use a cache of i8, i4 or e4m3.",
      "argument: prepareModel: kvRotation is for caches of i8, i4 and e4m3, but kvDType is f16. Leave it out.",
      "shape: prepareModel: headDim is 96; kvRotation needs powers of two. Leave it out.",
      "argument: prepareModel: kvRotation is given with valuesInKeys, but some elements of a turned key are not the turned value. Leave it out.",
      "argument: attnVariants: kvRotation is for caches of i8, i4 and e4m3, but kvDType is f16. Leave it out.",
      "argument: PagedKvCache.create: kvRotation is for caches of i8, i4 and e4m3, but dtype is bf16. Leave it out.",
      "shape: PagedKvCache.create: headDimV is 80; kvRotation needs powers of two. Leave it out.",
      "argument: PagedKvCache.create: kvRotation must be 'hadamard', not "none".",
    ]
  `);
});

test('layers of a plan that are turned otherwise', () => {
  const { kvRotation, ...unturned } = cached;
  const e4m3 = {
    ...unturned,
    kCache: fakeTensor('e4m3', shape),
    vCache: fakeTensor('e4m3', shape),
    kScale: undefined,
    vScale: undefined,
  };
  const { device, violations } = strictDevice();
  const strict = createRuntime(device);
  const out = fakeTensor('f16', [2, 2, 4, 64]);
  const plan = planAttnWithKvCache(strict, e4m3);
  expect(refusal(() => plan.record({ out, kvRotation }))).toMatchInlineSnapshot(
    `"argument: planAttnWithKvCache.record: the plan was made without kvRotation. Make it with the kvRotation of the layers, or leave it out."`,
  );
  plan.update({ kvRotation });
  plan.record({ out, kvRotation });
  plan.record({ out });
  strict.destroy();
  expect(violations).toEqual([]);
});
