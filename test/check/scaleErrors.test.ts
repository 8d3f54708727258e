import { expect, test } from 'vitest';
import { attnVarlen, attnWithKvCache, createRuntime, type AttnWithKvCacheArgs } from '../../src/index.js';
import { contiguousStrides, type Tensor } from '../../src/core/tensor.js';
import { fakeBuffer, fakeDevice, fakeTensor } from '../runtime/fakeDevice.js';
import { refusal } from './refusal.js';

// Errors must be thrown before the device is used: this one fails if it is.
const runtime = createRuntime(fakeDevice());

const q = fakeTensor('f16', [2, 2, 4, 64]);
const k = fakeTensor('f16', [2, 2, 2, 64]);
const v = fakeTensor('f16', [2, 2, 2, 64]);
const shape = [6, 4, 2, 64];
const i8: AttnWithKvCacheArgs = {
  q,
  k,
  v,
  kCache: fakeTensor('i8', shape),
  vCache: fakeTensor('i8', shape),
  kScale: fakeTensor('f16', [6, 4, 2]),
  vScale: fakeTensor('f16', [6, 4, 2]),
  cacheSeqlens: [1, 1],
  blockTable: [0, 1, 2, 3],
};
const i4: AttnWithKvCacheArgs = {
  ...i8,
  kCache: fakeTensor('i4', shape),
  vCache: fakeTensor('i4', shape),
  kScale: fakeTensor('f32', [6, 4, 2, 2]),
  vScale: fakeTensor('f32', [6, 4, 2, 2]),
};
const e4m3: AttnWithKvCacheArgs = {
  ...i8,
  kCache: fakeTensor('e4m3', shape),
  vCache: fakeTensor('e4m3', shape),
  kScale: [1, 0.5],
  vScale: [2],
};

const message = (change: object, from = i8) =>
  refusal(() => attnWithKvCache(runtime, { ...from, ...change } as AttnWithKvCacheArgs));

test('scales of a cache', () => {
  expect([
    message({ kScale: undefined }),
    message({ vScale: undefined }),
    message({ kScale: [1, 1] }),
    message({ kScale: fakeTensor('bf16', [6, 4, 2]) }),
    message({ kScale: fakeTensor('f16', [6, 4, 2, 1]) }),
    message({ vScale: fakeTensor('f16', [6, 4, 1]) }),
    message({ vScale: fakeTensor('f32', [6, 4, 2]) }),
    message({ kCache: fakeTensor('f16', shape), vCache: fakeTensor('f16', shape) }),
    message({ vCache: fakeTensor('e4m3', shape) }),
    message({ kCache: fakeTensor('i8', shape, { offset: 2 }) }),
    message({ kScale: fakeTensor('f32', [6, 4, 2]) }, i4),
    message({ kCache: fakeTensor('i4', [6, 4, 2, 48]), q: fakeTensor('f16', [2, 2, 4, 48]) }, i4),
    message({ kCache: fakeTensor('i4', shape, { offset: 4 }) }, i4),
    message({ kScale: fakeTensor('f16', [2]) }, e4m3),
    message({ kScale: [1, 2, 3] }, e4m3),
    message({ kScale: [1, 0] }, e4m3),
    message({ vScale: [NaN] }, e4m3),
  ]).toMatchInlineSnapshot(`
    [
      "argument: attnWithKvCache: kScale is missing: a cache of i8 needs kScale and vScale.",
      "argument: attnWithKvCache: vScale is missing: a cache of i8 needs kScale and vScale.",
      "argument: attnWithKvCache: kScale must be a tensor, { buffer, dtype, shape }, not [1, 1].",
      "dtype: attnWithKvCache: kScale must be f32 or f16, not bf16.",
      "shape: attnWithKvCache: kScale must have the shape [P, pageSize, Hkv], not [6, 4, 2, 1].",
      "shape: attnWithKvCache: vScale must be [P, pageSize, Hkv] = [6, 4, 2], not [6, 4, 1].",
      "dtype: attnWithKvCache: kScale is f16 but vScale is f32; they must be the same.",
      "argument: attnWithKvCache: kScale is given, but kCache is f16: only i8, i4 and e4m3 have scales.",
      "dtype: attnWithKvCache: kCache is i8 but vCache is e4m3; they must be the same.",
      "shape: attnWithKvCache: the offset of kCache must be a multiple of 4, since quantised caches begin with a whole word, not 2.",
      "shape: attnWithKvCache: kScale must have the shape [P, pageSize, Hkv, D / 32], not [6, 4, 2].",
      "shape: attnWithKvCache: kCache has head size 48; i4 needs a multiple of 32, whose elements share a scale. Use i8.",
      "shape: attnWithKvCache: the offset of kCache must be a multiple of 8, since quantised caches begin with a whole word, not 4.",
      "dtype: attnWithKvCache: kScale must be f32, not f16.",
      "shape: attnWithKvCache: kScale must have 2 numbers, [Hkv] = [2], not 3.",
      "argument: attnWithKvCache: kScale[1] must be a number from 2⁻¹²⁶ to 2¹²⁶, not 0.",
      "argument: attnWithKvCache: vScale[0] must be a finite number, not NaN.",
    ]
  `);
});

test('scales lie apart from what is read and written with them', () => {
  const kScale = i8.kScale as typeof q;
  const buffer = fakeBuffer(1 << 16);
  expect([
    message({ vScale: kScale }),
    message({
      kCache: fakeTensor('i8', shape, { buffer, offset: 64 }),
      kScale: fakeTensor('f16', [6, 4, 2], { buffer, offset: 1580 }),
    }),
    message({ k: fakeTensor('f16', [2, 2, 2, 64], { buffer: kScale.buffer }) }),
    message({ kScale: fakeTensor('f16', [6, 4, 2], { strides: [0, 2, 1] }) }),
    message({ kScale: fakeTensor('f32', [2], { buffer: e4m3.kCache.buffer }) }, e4m3),
  ]).toMatchInlineSnapshot(`
    [
      "buffer: attnWithKvCache: kScale and vScale overlap, so one would overwrite the other.",
      "buffer: attnWithKvCache: kScale and kCache are too close in one buffer: put them 256 bytes apart, or in two buffers.",
      "buffer: attnWithKvCache: k ends at byte 1024 of a buffer of 96 bytes. Check its shape, strides and offset.",
      "shape: attnWithKvCache: elements of kScale overlap: its strides are [0, 2, 1].",
      "buffer: attnWithKvCache: kCache is in the same buffer as kScale. WebGPU cannot read and write a buffer in one dispatch: give kScale a buffer of its own.",
    ]
  `);
});

test('keys that follow each other are no cache', () => {
  const args = {
    q: fakeTensor('f16', [4, 4, 64]),
    k: fakeTensor('i8', [8, 2, 64]),
    v: fakeTensor('i8', [8, 2, 64]),
    cuSeqlensQ: [0, 4],
    cuSeqlensK: [0, 8],
  };
  expect([
    refusal(() => attnVarlen(runtime, args)),
    refusal(() =>
      attnVarlen(runtime, {
        ...args,
        k: fakeTensor('f16', [8, 2, 64]),
        v: fakeTensor('f16', [8, 2, 64]),
        kScale: [1],
      }),
    ),
  ]).toMatchInlineSnapshot(`
    [
      "dtype: attnVarlen: k must be f32, f16 or bf16, not i8.",
      "argument: attnVarlen: kScale is given, but k is f16: only i8, i4 and e4m3 have scales.",
    ]
  `);
});

test('scales of new keys whose values are a view of them', () => {
  const viewed = (from: AttnWithKvCacheArgs, offset = 0): AttnWithKvCacheArgs => {
    const { kCache } = from;
    const vCache = {
      ...kCache,
      shape: [...kCache.shape.slice(0, -1), 32],
      offset,
      strides: contiguousStrides(kCache.shape),
    };
    return { ...from, vCache, v: undefined, vScale: undefined };
  };
  const elsewhere = fakeTensor('f16', [6, 4, 2]);
  const ofI4 = i4.kScale as Tensor;
  const view = { ...ofI4, shape: [6, 4, 2, 1], strides: contiguousStrides(ofI4.shape) };
  expect([
    message({ vScale: elsewhere }, viewed(i8)),
    message({ vScale: view }, viewed(i4, 32)),
    message({}, viewed(i4, 32)),
    message({ vScale: view }, viewed(i4, 8)),
    message({ vScale: [2] }, viewed(e4m3)),
    message({ vScale: fakeTensor('f32', [2]) }, viewed(e4m3)),
  ]).toMatchInlineSnapshot(`
    [
      "argument: attnWithKvCache: v is left out, so values have the scales of new keys: leave vScale out, or pass the view of kScale that goes with vCache.",
      "argument: attnWithKvCache: v is left out, so values have the scales of new keys: leave vScale out, or pass the view of kScale that goes with vCache.",
      "argument: attnWithKvCache: vScale is missing: vCache begins 32 elements after kCache, so its scales do not begin with those of kCache. Pass the view of kScale that it has.",
      "shape: attnWithKvCache: vCache begins 8 elements after kCache; in i4, values that are a view of keys begin with a multiple of 32, whose elements share a scale.",
      "argument: attnWithKvCache: v is left out, so values have the scales of new keys: leave vScale out, or pass the view of kScale that goes with vCache.",
      "argument: attnWithKvCache: v is left out, so values have the scales of new keys: leave vScale out, or pass the view of kScale that goes with vCache.",
    ]
  `);
  // What is taken comes to the device, which fails.
  const isTaken = (change: object, from: AttnWithKvCacheArgs) =>
    expect(() => message(change, from)).toThrow();
  isTaken({}, viewed(i8));
  isTaken({ vScale: i8.kScale }, viewed(i8));
  isTaken({ vScale: view }, viewed(i4));
  isTaken({ vScale: { ...view, offset: 1 } }, viewed(i4, 32));
  isTaken({ vScale: [1, 0.5] }, viewed(e4m3));
});
