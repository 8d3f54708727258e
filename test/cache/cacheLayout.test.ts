import { describe, expect, test } from 'vitest';
import {
  layersBytes,
  layersOf,
  layoutCache,
  packTensors,
  pageFormat,
  poolsOf,
  type CacheLayer,
  type CacheLayout,
  type CacheOptions,
  type CacheSize,
} from '../../src/cache/cacheLayout.js';
import { Call } from '../../src/check/call.js';
import { isViewOfKeys } from '../../src/check/checkOverlap.js';
import { PageflashError } from '../../src/index.js';
import { Random } from '../../tools/random.js';
import { refusal } from '../check/refusal.js';
import { UNKNOWN_PACE } from '../../src/core/pace.js';
import { traitsOf } from '../plan/traits.js';

const MiB = 2 ** 20;

/** A call on a device that binds at most so many bytes. */
function callWith(maxBindingBytes: number, name = 'PagedKvCache.create'): Call {
  return new Call(name, { traits: traitsOf({ maxBindingBytes }), pace: UNKNOWN_PACE });
}

describe('packing', () => {
  test.each([
    { tensors: [100], max: 256, buffers: [100], offsets: [0], why: 'one tensor, to the byte' },
    { tensors: [100, 100, 100], max: 612, buffers: [612], offsets: [0, 256, 512], why: 'starts are aligned' },
    { tensors: [100, 100, 100], max: 611, buffers: [356, 100], offsets: [0, 256, 0], why: 'a byte too few' },
    { tensors: [300, 300], max: 300, buffers: [300, 300], offsets: [0, 0], why: 'each fills a buffer' },
    {
      tensors: [768, 512, 768, 512, 768, 512],
      max: 1536,
      buffers: [1536, 1280, 1024],
      offsets: [0, 768, 768, 0, 0, 512],
      why: 'sizes that would waste a buffer are separated',
    },
    {
      tensors: [1024, 256, 1024, 256],
      max: 1280,
      buffers: [1280, 1280],
      offsets: [0, 1024, 0, 1024],
      why: 'small ones fill gaps',
    },
  ])('$tensors in buffers of $max: $why', ({ tensors, max, buffers, offsets }) => {
    const packing = packTensors(tensors, max);
    expect(packing.buffers).toEqual(buffers);
    expect(packing.locations.map(({ offset }) => offset)).toEqual(offsets);
  });
});

describe('layout', () => {
  const llama = { nLayers: 32, nKvHeads: 8, headDim: 128, dtype: 'f16' } as const;
  const layout = (size: CacheSize & Partial<CacheOptions<unknown>>, shape: object = {}) =>
    layoutCache(callWith(128 * MiB), { ...llama, ...shape, ...size }, 256 * MiB);

  test.each([
    { size: { nPages: 100 }, nPages: 100, why: 'as asked for' },
    { size: { tokens: 1600 }, nPages: 100, why: 'whole pages' },
    { size: { tokens: 1601 }, nPages: 101, why: 'one more token takes a page' },
    { size: { tokens: 1 }, nPages: 1, why: 'at least a page' },
    { size: { bytes: 100 * 2 * MiB }, nPages: 100, why: 'a page is 16 · 8 · 128 · 2 bytes, twice per layer' },
    { size: { bytes: 100 * 2 * MiB - 1 }, nPages: 99, why: 'a byte too few' },
    { size: { bytes: 2 * MiB + 0.5 }, nPages: 1, why: 'half a byte is of no use' },
    { size: { bytes: 2 ** 40 }, nPages: 4096, why: 'one binding holds 128 MiB of a layer' },
    { size: { nPages: 4096 }, nPages: 4096, why: 'the most there can be' },
  ])('$size gives $nPages pages: $why', ({ size, nPages }) => {
    expect(layout({ pageSize: 16, ...size }).nPages).toBe(nPages);
  });

  test.each([
    { nPages: 4, buffers: [8 * MiB], why: 'all in one' },
    { nPages: 128, buffers: [256 * MiB], why: 'a full one' },
    { nPages: 129, buffers: [63, 1].map((n) => n * 129 * 32768), why: 'one tensor too many' },
    { nPages: 4096, buffers: Array.from({ length: 32 }, () => 256 * MiB), why: 'two tensors each' },
  ])('$nPages pages take $buffers.length buffers: $why', ({ nPages, buffers }) => {
    expect(layout({ pageSize: 16, nPages }).buffers).toEqual(buffers);
  });

  test('a page that is no multiple of 16 bytes is padded', () => {
    const odd = layout({ pageSize: 3, nPages: 5 }, { nLayers: 2, nKvHeads: 1, headDim: 9, headDimV: 8 });
    expect([odd.k.strideBytes, odd.v.strideBytes]).toEqual([64, 48]);
    expect(odd.locations.map(({ offset }) => offset)).toEqual([0, 1024, 512, 1280]);
    expect(odd.bytes).toBe(1280 + 240);
  });

  test('values that are a part of keys take no memory, and are a view of them', () => {
    const shape = { nLayers: 3, nKvHeads: 1, headDim: 576, headDimV: 512, valuesInKeys: true };
    const mla = layout({ pageSize: 16, nPages: 4 }, shape);
    const page = 16 * 576 * 2;
    expect(mla.bytes).toBe(3 * 4 * page);
    expect(mla.locations.length).toBe(3);
    const buffers = mla.buffers.map(() => ({}) as GPUBuffer);
    const [, second] = layersOf(mla, buffers);
    expect(second!.vCache).toEqual({ ...second!.kCache, shape: [4, 16, 1, 512] });
    expect(isViewOfKeys(second!.vCache, second!.kCache)).toBe(true);
    expect(poolsOf(mla, buffers).map((pool) => pool.shape)).toEqual([1, 2, 3].map(() => [4, page / 4]));
    expect(pageFormat(mla)).toBe('f16 of 3 layers, [16, 1, 576] with values of 512 in them');
    expect(() => layout({ pageSize: 16, nPages: 4 }, { ...shape, headDim: 64 })).toThrow(
      'values of 512 elements cannot be a part of keys of 64. Pass a smaller headDimV, or leave valuesInKeys out.',
    );
  });

  test('quantised keys have scales, which serve the values that are a part of them', () => {
    const shape = { nLayers: 2, nKvHeads: 1, headDim: 576, headDimV: 512, valuesInKeys: true };
    const size = { pageSize: 16, nPages: 4 };
    const perToken = { i8: 576 + 2, i4: 288 + 36, e4m3: 576 } as const;
    for (const dtype of ['i8', 'i4', 'e4m3'] as const) {
      const quantised = layout(size, { ...shape, dtype });
      expect(quantised.parts.map(({ name }) => name)).toEqual(
        dtype === 'e4m3' ? ['kCache'] : ['kCache', 'kScale'],
      );
      expect(layersBytes(quantised)).toBe(2 * 16 * perToken[dtype]);
      const buffers = quantised.buffers.map(() => ({}) as GPUBuffer);
      const [, { kCache, vCache, kScale, vScale }] = layersOf(quantised, buffers) as [CacheLayer, CacheLayer];
      expect(isViewOfKeys(vCache, kCache)).toBe(true);
      if (dtype === 'e4m3') expect(vScale).toBeUndefined();
      else expect(vScale).toEqual({ ...kScale, shape: dtype === 'i8' ? [4, 16, 1] : [4, 16, 1, 16] });
    }
    const given = layout(size, { ...shape, dtype: 'e4m3', kScale: [0.5, 2] });
    const buffers = given.buffers.map(() => ({}) as GPUBuffer);
    const layers = layersOf(given, buffers);
    expect(layers.map(({ kScale }) => kScale!.offset)).toEqual([0, 64]);
    expect(layers.map(({ vScale }) => vScale)).toEqual(layers.map(({ kScale }) => kScale));
    expect(() => layout(size, { ...shape, dtype: 'e4m3', vScale: [1, 1] })).toThrow(
      'vScale is given, but values are a part of keys, whose kScale serves both. Leave it out.',
    );
  });

  test('layers of a turned cache say so, and pages of others are another format', () => {
    const shape = { nLayers: 2, nKvHeads: 1, headDim: 64, headDimV: 32, dtype: 'i8' } as const;
    const size = { pageSize: 16, nPages: 4 };
    const turned = layout({ ...size, kvRotation: 'hadamard' }, shape);
    const plain = layout(size, shape);
    const layersWith = (each: CacheLayout) =>
      layersOf(
        each,
        each.buffers.map(() => ({}) as GPUBuffer),
      ).map(({ kvRotation }) => kvRotation);
    expect(layersWith(turned)).toEqual(['hadamard', 'hadamard']);
    expect(layersWith(plain)).toEqual([undefined, undefined]);
    expect(pageFormat(turned)).toBe(
      'i8 with scales f16, turned (hadamard), of 2 layers, [16, 1, 64] and [16, 1, 32]',
    );
    expect(pageFormat(plain)).toBe('i8 with scales f16 of 2 layers, [16, 1, 64] and [16, 1, 32]');
  });

  test('whatever the shape: within limits and budget, aligned, apart, and not a page too few', () => {
    const random = new Random(1);
    for (let run = 0; run < 300; run++) {
      const shape = {
        nLayers: random.int(1, 9),
        nKvHeads: random.int(1, 4),
        headDim: random.int(1, 40),
        headDimV: random.int(1, 40),
        dtype: random.pick(['f32', 'f16', 'bf16'] as const),
        pageSize: random.int(1, 20),
      };
      const maxBufferSize = random.int(20_000, 70_000);
      const maxBindingBytes = 32768;
      const make = (size: object) =>
        layoutCache(callWith(maxBindingBytes), { ...shape, ...size } as CacheOptions<never>, maxBufferSize);
      const least = make({ nPages: 1 }).bytes;
      const bytes = random.int(least, 40 * least);
      const { nPages, buffers, locations, k, v, ...cache } = make({ bytes });
      expect(cache.bytes).toBe(buffers.reduce((sum, size) => sum + size, 0));
      expect(cache.bytes).toBeLessThanOrEqual(bytes);
      const oneMore = () => make({ nPages: nPages + 1 }).bytes;
      const limit = Math.min(maxBufferSize, maxBindingBytes);
      if ((nPages + 1) * Math.max(k.strideBytes, v.strideBytes) > limit)
        expect(oneMore).toThrow(PageflashError);
      else expect(oneMore()).toBeGreaterThan(bytes);

      buffers.forEach((size, buffer) => {
        expect(size).toBeLessThanOrEqual(maxBufferSize);
        const tensors = locations
          .map((location, i) => ({ ...location, bytes: nPages * (i % 2 === 0 ? k : v).strideBytes }))
          .filter((location) => location.buffer === buffer)
          .toSorted((a, b) => a.offset - b.offset);
        let end = 0;
        for (const { offset, bytes: tensorBytes } of tensors) {
          expect(offset % 256).toBe(0);
          expect(offset).toBeGreaterThanOrEqual(end);
          end = offset + tensorBytes;
        }
        expect(size).toBe(end);
      });
    }
  });

  test('errors', () => {
    const message = (options: object) =>
      refusal(() => layoutCache(callWith(128 * MiB), { ...llama, pageSize: 16, ...options }, 256 * MiB));
    expect([
      message({}),
      message({ nPages: 4, bytes: 2 ** 20 }),
      message({ nPages: 0 }),
      message({ tokens: 1.5 }),
      message({ bytes: -1 }),
      message({ bytes: 1e6 }),
      message({ nPages: 4, pageSize: undefined }),
      message({ nPages: 4, nLayers: '32' }),
      message({ nPages: 4, headDimV: 0 }),
      message({ nPages: 4, dtype: 'i32' }),
      message({ nPages: 5000 }),
      message({ tokens: 80_000, headDimV: 160 }),
      message({ bytes: 2 ** 30, pageSize: 100_000 }),
      refusal(() => layoutCache(callWith(128 * MiB), null as never, 256 * MiB)),
      message({ nPages: 4, headDimv: 64 }),
      refusal(() => layoutCache(callWith(128 * MiB, 'f'), { ...llama, pageSize: 16, nPages: 5000 }, MiB)),
    ]).toMatchInlineSnapshot(`
      [
        "argument: PagedKvCache.create: pass one of nPages, tokens and bytes, not none of them.",
        "argument: PagedKvCache.create: pass one of nPages, tokens and bytes, not nPages and bytes.",
        "argument: PagedKvCache.create: nPages must be a whole number ≥ 1, not 0.",
        "argument: PagedKvCache.create: tokens must be a whole number ≥ 1, not 1.5.",
        "argument: PagedKvCache.create: bytes must be a finite number ≥ 0, not -1.",
        "argument: PagedKvCache.create: bytes must be at least 2097152 for one page, not 1000000.",
        "argument: PagedKvCache.create: pageSize must be a whole number ≥ 1, not undefined.",
        "argument: PagedKvCache.create: nLayers must be a whole number ≥ 1, not "32".",
        "argument: PagedKvCache.create: headDimV must be a whole number ≥ 1, not 0.",
        "argument: PagedKvCache.create: dtype must be 'f32', 'f16', 'bf16', 'i8', 'i4' or 'e4m3', not "i32".",
        "limit: PagedKvCache.create: 5000 pages of a layer's keys or values take 163840000 bytes, but this device allows 134217728 (maxStorageBufferBindingSize): 4096 pages. Ask for fewer, or make the device with a higher limit, as requestDevice() does.",
        "limit: PagedKvCache.create: 5000 pages of a layer's keys or values take 204800000 bytes, but this device allows 134217728 (maxStorageBufferBindingSize): 3276 pages. Ask for fewer, or make the device with a higher limit, as requestDevice() does.",
        "limit: PagedKvCache.create: a page of a layer's keys or values takes 204800000 bytes, but this device allows 134217728 (maxStorageBufferBindingSize). Put fewer tokens on a page.",
        "argument: PagedKvCache.create: the arguments must be one object, not null.",
        "argument: PagedKvCache.create: there is no argument headDimv. There are pageSize, nPages, tokens, bytes, hostPagesOf, kvRotation, kScale, vScale, nLayers, hiddenSize, nHeads, nKvHeads, headDim, headDimV, valuesInKeys, feedForwardSize, feedForwardMatrices, vocabSize, nPositions, biases, outputHead, dtype, scaleDType.",
        "limit: f: 5000 pages of a layer's keys or values take 163840000 bytes, but this device allows 1048576 (maxBufferSize): 32 pages. Ask for fewer, or make the device with a higher limit, as requestDevice() does.",
      ]
    `);
  });
});
