import { describe, expect, test } from 'vitest';
import { layoutCache, packTensors, type CacheSize } from '../../src/cache/cacheLayout.js';
import { copyPages, type CopyPagesArgs } from '../../src/cache/copyPages.js';
import { PagedKvCache, type PagedKvCacheOptions } from '../../src/cache/pagedKvCache.js';
import type { Dispatch } from '../../src/core/dispatch.js';
import { bytesPerElement } from '../../src/core/dtype.js';
import { windowOf } from '../../src/core/tensor.js';
import { createRuntime, PageflashError, type Runtime, type Tensor } from '../../src/index.js';
import { groupPools } from '../../src/kernels/copyPages.js';
import { fakeBuffer, fakeDevice, fakeTensor } from '../runtime/fakeDevice.js';
import { Random } from '../../tools/random.js';
import { refusal, rejection } from '../check/refusal.js';

const MiB = 2 ** 20;
const LIMITS = { maxBufferSize: 256 * MiB, maxStorageBufferBindingSize: 128 * MiB };

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
      why: 'sizes that go badly together go apart',
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
    expect(packing.places.map(({ offset }) => offset)).toEqual(offsets);
  });
});

describe('layout', () => {
  const llama = { nLayers: 32, nKvHeads: 8, headDim: 128, dtype: 'f16' } as const;
  const layout = (size: CacheSize, shape: object = {}) =>
    layoutCache('PagedKvCache.create', { ...llama, ...shape, ...size }, LIMITS);

  test.each([
    { size: { nPages: 100 }, nPages: 100, why: 'as asked for' },
    { size: { tokens: 1600 }, nPages: 100, why: 'whole pages' },
    { size: { tokens: 1601 }, nPages: 101, why: 'one more token takes a page' },
    { size: { tokens: 1 }, nPages: 1, why: 'at least a page' },
    { size: { bytes: 100 * 2 * MiB }, nPages: 100, why: 'a page is 16 · 8 · 128 · 2 bytes, twice a layer' },
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
    expect(odd.places.map(({ offset }) => offset)).toEqual([0, 1024, 512, 1280]);
    expect(odd.bytes).toBe(1280 + 240);
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
      const limits = { maxBufferSize: random.int(20_000, 70_000), maxStorageBufferBindingSize: 32768 };
      const make = (size: object) => layoutCache('create', { ...shape, ...size }, limits);
      const least = make({ nPages: 1 }).bytes;
      const bytes = random.int(least, 40 * least);
      const { nPages, buffers, places, k, v, ...cache } = make({ bytes });
      expect(cache.bytes).toBe(buffers.reduce((sum, size) => sum + size, 0));
      expect(cache.bytes).toBeLessThanOrEqual(bytes);
      const oneMore = () => make({ nPages: nPages + 1 }).bytes;
      const limit = Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize);
      if ((nPages + 1) * Math.max(k.strideBytes, v.strideBytes) > limit)
        expect(oneMore).toThrow(PageflashError);
      else expect(oneMore()).toBeGreaterThan(bytes);

      buffers.forEach((size, buffer) => {
        expect(size).toBeLessThanOrEqual(limits.maxBufferSize);
        const tensors = places
          .map((place, i) => ({ ...place, bytes: nPages * (i % 2 === 0 ? k : v).strideBytes }))
          .filter((place) => place.buffer === buffer)
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
      refusal(() => layoutCache('PagedKvCache.create', { ...llama, pageSize: 16, ...options }, LIMITS));
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
      refusal(() => layoutCache('PagedKvCache.create', null as never, LIMITS)),
      message({ nPages: 4, headDimv: 64 }),
      refusal(() =>
        layoutCache('f', { ...llama, pageSize: 16, nPages: 5000 }, { ...LIMITS, maxBufferSize: MiB }),
      ),
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
        "argument: PagedKvCache.create: dtype must be 'f32', 'f16' or 'bf16', not "i32".",
        "limit: PagedKvCache.create: 5000 pages of a layer's keys or values take 163840000 bytes, but this device allows 134217728 (maxStorageBufferBindingSize): 4096 pages. Ask for fewer, or make the device with a higher limit, as requestDevice() does.",
        "limit: PagedKvCache.create: 5000 pages of a layer's keys or values take 204800000 bytes, but this device allows 134217728 (maxStorageBufferBindingSize): 3276 pages. Ask for fewer, or make the device with a higher limit, as requestDevice() does.",
        "limit: PagedKvCache.create: a page of a layer's keys or values takes 204800000 bytes, but this device allows 134217728 (maxStorageBufferBindingSize). Put fewer tokens on a page.",
        "argument: PagedKvCache.create: the arguments must be one object, not null.",
        "argument: PagedKvCache.create: there is no argument headDimv. There are pageSize, nPages, tokens, bytes, hostPagesOf, nLayers, hiddenSize, nHeads, nKvHeads, headDim, headDimV, feedForwardSize, feedForwardMatrices, vocabSize, nPositions, biases, outputHead, dtype.",
        "limit: f: 5000 pages of a layer's keys or values take 163840000 bytes, but this device allows 1048576 (maxBufferSize): 32 pages. Ask for fewer, or make the device with a higher limit, as requestDevice() does.",
      ]
    `);
  });
});

describe('groups of pools', () => {
  const buffer = fakeBuffer(2 ** 20);
  const pool = (offset: number, rest: Partial<Tensor> = {}): Tensor =>
    fakeTensor('f16', [8, 4, 2, 16], { buffer, offset, ...rest });

  test.each([
    { pools: [pool(0), pool(1024), pool(2048)], groups: [3], why: 'alike, in one buffer' },
    { pools: [pool(0), pool(1024, { buffer: fakeBuffer(4096) })], groups: [1, 1], why: 'two buffers' },
    {
      pools: [pool(0), pool(1024, { shape: [8, 4, 2, 8] }), pool(2048)],
      groups: [2, 1],
      why: 'smaller pages',
    },
    { pools: [pool(0), pool(1024, { dtype: 'bf16' })], groups: [2], why: 'bits are bits' },
    { pools: [pool(0), pool(1026)], groups: [1, 1], why: 'one is not at a multiple of 16 bytes' },
    { pools: [pool(0), pool(128 * 1024), pool(2048)], groups: [2, 1], why: 'too far away for one binding' },
    {
      pools: [pool(0), pool(1024, { shape: [1, 4, 2, 16] })],
      groups: [1],
      why: 'nothing to copy in one page',
    },
    { pools: [pool(0, { shape: [8, 0, 2, 16] })], groups: [], why: 'nothing in a page' },
  ])('$why', ({ pools, groups }) => {
    const maxBindingBytes = 2 ** 16;
    const found = groupPools(pools, maxBindingBytes);
    expect(found.map((group) => group.pools.length)).toEqual(groups);
    for (const { start, end } of found) {
      expect(start % 256).toBe(0);
      expect(end - start).toBeLessThanOrEqual(maxBindingBytes);
    }
  });
});

describe('copyPages', () => {
  const runtime = createRuntime(fakeDevice());
  const pool = fakeTensor('f16', [8, 4, 2, 16]);
  const copy = (change: object) =>
    copyPages(runtime, { pools: [pool], pairs: [[0, 1]], ...change } as CopyPagesArgs);
  const message = (change: object) => refusal(() => copy(change));

  test('arguments', () => {
    expect([
      message({ pool }),
      message({ pools: undefined }),
      message({ pools: [pool, fakeBuffer(4096)] }),
      message({ pools: [pool, fakeTensor('f16', [8, 4, 32])] }),
      message({ pools: fakeTensor('f16', [8, 4, 2, 16], { offset: 0.5 }) }),
      message({ pass: {} }),
      message({ pairs: undefined }),
      message({ pairs: [0, 1] }),
      message({ pairs: [[0, 1], [2]] }),
      message({ pairs: [[0, 1.5]] }),
      message({ pairs: [[0, -1]] }),
      message({ pairs: Int32Array.of(0, 1, 2) }),
      message({ pairs: Int32Array.of(0, 1, -1, 2) }),
    ]).toMatchInlineSnapshot(`
      [
        "argument: copyPages: there is no argument pool. There are pools, pairs, pass.",
        "argument: copyPages: pools must be a tensor or an array of tensors, not undefined.",
        "argument: copyPages: pools[1] must be a tensor, { buffer, dtype, shape }, not a plain object.",
        "shape: copyPages: pools[1] must have the shape [P, pageSize, Hkv, D], not [8, 4, 32].",
        "shape: copyPages: the offset of pools must be a whole number ≥ 0, not 0.5.",
        "argument: copyPages: pass must be a GPUComputePassEncoder, not a plain object.",
        "argument: copyPages: pairs must be [[from, to], ...], an Int32Array or a Uint32Array, not undefined.",
        "argument: copyPages: pairs[0] must be [from, to], not 0.",
        "argument: copyPages: pairs[1] must be [from, to], not [2].",
        "argument: copyPages: pairs[0] must be the numbers of two pages, not [0, 1.5].",
        "argument: copyPages: pairs[0] must be the numbers of two pages, not [0, -1].",
        "argument: copyPages: pairs must be two numbers a copy, from and to, but there are 3.",
        "argument: copyPages: pairs[1] must be the numbers of two pages, not [-1, 2].",
      ]
    `);
  });

  test('pages that are not there', () => {
    const [one, none] = [fakeTensor('f16', [1, 4, 2, 16]), fakeTensor('f16', [0, 4, 2, 16])];
    expect([
      message({ pairs: [[0, 1], [8, 2]] }), // prettier-ignore
      message({ pairs: Uint32Array.of(0, 8) }),
      message({ pools: one }),
      message({ pools: [pool, none] }),
    ]).toMatchInlineSnapshot(`
      [
        "length: copyPages: pairs[1] copies page 8 to page 2, but pools[0] has pages 0 to 7.",
        "length: copyPages: pairs[0] copies page 0 to page 8, but pools[0] has pages 0 to 7.",
        "length: copyPages: pairs[0] copies page 0 to page 1, but pools has pages 0 to 0.",
        "length: copyPages: pairs[0] copies page 0 to page 1, but pools[1] has no pages.",
      ]
    `);
  });

  test('pages that cannot be copied word by word', () => {
    const strided = (dtype: 'f16' | 'f32', strides: number[], rest: Partial<Tensor> = {}) =>
      message({ pools: fakeTensor(dtype, [8, 3, 1, 5], { strides, ...rest }) });
    expect([
      strided('f16', [16, 5, 5, 1], { offset: 1 }),
      strided('f16', [15, 5, 5, 1]),
      strided('f16', [20, 6, 5, 1]),
      strided('f32', [14, 5, 5, 1]),
      message({ pools: fakeTensor('f32', [8, 3, 2, 5], { strides: [40, 10, 6, 1] }) }),
    ]).toMatchInlineSnapshot(`
      [
        "shape: copyPages: pools must begin at a whole word of 4 bytes; its offset of 1 elements does not. Make it even.",
        "shape: copyPages: pages of pools must begin at whole words of 4 bytes; its page stride of 15 elements does not let them. Pad pages to 16.",
        "shape: copyPages: each page of pools must be one piece of memory, but the strides of [8, 3, 1, 5] are [20, 6, 5, 1]. Only pages may have gaps between them.",
        "shape: copyPages: pages of pools overlap: each has 15 elements, but the next begins after 14.",
        "shape: copyPages: each page of pools must be one piece of memory, but the strides of [8, 3, 2, 5] are [40, 10, 6, 1]. Only pages may have gaps between them.",
      ]
    `);
  });

  test('pools that share memory', () => {
    const shared = fakeBuffer(8192);
    const view = (offset: number, pageStride: number, dim = 16) =>
      fakeTensor('f16', [8, 4, 1, dim], { buffer: shared, offset, strides: [pageStride, dim, dim, 1] });
    const both = (a: Tensor, b: Tensor) => message({ pools: [pool, a, b], pairs: [] });
    expect([both(view(0, 64), view(0, 64)), both(view(0, 128), view(66, 130))]).toMatchInlineSnapshot(`
      [
        "buffer: copyPages: pools[1] and pools[2] overlap. Pass each pool once; pools lie among each other only with the same page stride.",
        "buffer: copyPages: pools[1] and pools[2] overlap. Pass each pool once; pools lie among each other only with the same page stride.",
      ]
    `);
    for (const [a, b] of [
      [view(0, 128), view(62, 128)],
      [view(62, 128), view(0, 128)],
      [view(0, 128), view(64 + 256 + 2, 128)],
      [view(0, 64), view(510, 64)],
    ] as const) {
      expect(both(a, b)).toContain('overlap');
    }
    for (const [a, b] of [
      [view(0, 128), view(64, 128)],
      [view(64, 128), view(0, 128)],
      [view(0, 128), view(64 + 256, 128)],
      [view(0, 128), view(96, 128, 8)],
      [view(0, 64), view(512, 64)],
      [view(0, 128), { ...view(0, 128), buffer: fakeBuffer(8192) }],
    ] as const) {
      copy({ pools: [pool, a, b], pairs: [] });
    }
  });

  test('nothing to copy asks nothing of the device, in a pass or without', () => {
    const pass = { dispatchWorkgroups: () => {} };
    for (const pairs of [[], [[3, 3]], new Uint32Array()]) {
      copy({ pairs });
      copy({ pairs, pass });
    }
    copy({ pools: [] });
    copy({ pools: fakeTensor('f32', [8, 4, 0, 16]) });
  });

  test('a destroyed runtime says so', () => {
    const destroyed = createRuntime(fakeDevice());
    destroyed.destroy();
    expect(refusal(() => copyPages(destroyed, {} as CopyPagesArgs))).toMatchInlineSnapshot(
      `"device: copyPages: the runtime cannot be used any more, since it was destroyed."`,
    );
  });
});

/** A device that makes buffers, as long as there is memory for them. */
function memoryDevice(memoryBytes = Infinity, limits: Partial<GPUSupportedLimits> = {}) {
  const live = new Set<GPUBuffer>();
  let isOut = false;
  const device = Object.assign(fakeDevice({ maxBufferSize: 2 ** 20, ...limits }), {
    pushErrorScope: () => {
      isOut = false;
    },
    popErrorScope: () => Promise.resolve(isOut ? { message: 'out of memory' } : null),
    createBuffer: ({ size, usage }: GPUBufferDescriptor) => {
      const made = Object.assign(fakeBuffer(size, usage), {
        destroy: () => live.delete(made),
        mapAsync: () => Promise.reject(new Error('no buffer')),
      });
      live.add(made);
      isOut ||= [...live].reduce((sum, buffer) => sum + buffer.size, 0) > memoryBytes;
      return made;
    },
    createCommandEncoder: () => ({ copyBufferToBuffer: () => {}, finish: () => ({}) }),
  });
  Object.assign(device.queue, { submit: () => {}, onSubmittedWorkDone: () => Promise.resolve() });
  return { device, live };
}

describe('PagedKvCache', () => {
  const options: PagedKvCacheOptions = {
    nLayers: 3,
    nKvHeads: 2,
    headDim: 40,
    headDimV: 24,
    dtype: 'f16',
    pageSize: 4,
    nPages: 10,
  };

  /** With a runtime that compiles nothing and lists what it is to run. */
  async function setUp(change: object = {}, memoryBytes?: number, limits: Partial<GPUSupportedLimits> = {}) {
    const { device, live } = memoryDevice(memoryBytes, limits);
    const runtime = createRuntime(device);
    const submitted: Dispatch[] = [];
    Object.assign(runtime, {
      compile: () => Promise.resolve(),
      submit: (dispatches: readonly Dispatch[]) => submitted.push(...dispatches),
    } satisfies Partial<Record<keyof Runtime, unknown>>);
    const cache = await PagedKvCache.create(runtime, { ...options, ...change });
    return { cache, runtime, live, submitted };
  }

  test('gives each layer its tensors, the same ones each time', async () => {
    const { cache, live } = await setUp();
    const { nLayers, nPages, pageSize, pageBytes, bytes, buffers } = cache;
    expect({ nLayers, nPages, pageSize }).toEqual({ nLayers: 3, nPages: 10, pageSize: 4 });
    expect(pageBytes).toBe(3 * 4 * 2 * (40 + 24) * 2);
    expect(buffers).toEqual([...live]);
    expect(bytes).toBe(buffers.reduce((sum, { size }) => sum + size, 0));
    expect(buffers.every(({ usage }) => usage === (128 | 4 | 8))).toBe(true);
    for (let i = 0; i < 3; i++) {
      const { kCache, vCache } = cache.layer(i);
      expect(cache.layer(i)).toBe(cache.layer(i));
      expect(kCache).toMatchObject({ dtype: 'f16', shape: [10, 4, 2, 40], strides: [320, 80, 40, 1] });
      expect(vCache).toMatchObject({ dtype: 'f16', shape: [10, 4, 2, 24], strides: [192, 48, 24, 1] });
      for (const { buffer, offset, dtype } of [kCache, vCache]) {
        expect(buffers).toContain(buffer);
        expect((offset! * bytesPerElement(dtype)) % 256).toBe(0);
      }
    }
  });

  test('keys beyond 2 GiB, on paper: each tensor in a binding of its own, at the byte where it should be', async () => {
    const GiB = 2 ** 30;
    const limits = { maxBufferSize: 8 * GiB, maxStorageBufferBindingSize: 4 * GiB - 4 };
    const pageBytes = 16 * 8 * 128 * 2;
    const nPages = (3 * GiB) / pageBytes;
    const big = { nLayers: 3, nKvHeads: 8, headDim: 128, headDimV: 128, pageSize: 16, nPages };
    const { cache, runtime, submitted } = await setUp(big, Infinity, limits);
    expect(cache.buffers.map(({ size }) => size / GiB)).toEqual([6, 6, 6]);
    for (let layer = 0; layer < 3; layer++) {
      const { kCache, vCache } = cache.layer(layer);
      expect(kCache.buffer).toBe(vCache.buffer);
      expect(windowOf(kCache)).toEqual({ offset: 0, size: 3 * GiB, firstElement: 0 });
      expect(windowOf(vCache)).toEqual({ offset: 3 * GiB, size: 3 * GiB, firstElement: 0 });
    }
    const written: (readonly [buffer: number, offset: number])[] = [];
    Object.assign(runtime.device.queue, {
      writeBuffer: (buffer: GPUBuffer, offset: number) =>
        written.push([cache.buffers.indexOf(buffer), offset]),
    });
    cache.writePages([nPages - 1], [new Uint8Array(cache.pageBytes)]);
    const ends = [0, 1, 2].flatMap((buffer) => [3 * GiB, 6 * GiB].map((end) => [buffer, end - pageBytes]));
    expect(written).toEqual(ends);
    cache.copyPages([[0, nPages - 1]]);
    expect(submitted.map(({ params }) => params['n_pools'])).toEqual([1, 1, 1, 1, 1, 1]);
  });

  test('copies in all layers by a dispatch for the keys and one for the values of a buffer', async () => {
    const { cache, submitted } = await setUp();
    cache.copyPages([[0, 1]]);
    expect(submitted.map(({ params }) => params['n_pools'])).toEqual([3, 3]);
    const alike = await setUp({ headDimV: 40, nLayers: 30 });
    alike.cache.copyPages([[0, 1]]);
    expect(alike.submitted.map(({ params }) => params['n_pools'])).toEqual([60]);
    alike.cache.copyPages([[2, 2]]);
    expect(alike.submitted).toHaveLength(1);
  });

  test('without memory for all of it nothing is left', async () => {
    const { device, live } = memoryDevice(40_000);
    const creating = PagedKvCache.create(createRuntime(device), { ...options, nPages: 1000 });
    expect(await rejection(creating)).toMatchInlineSnapshot(
      `"limit: PagedKvCache.create: the device has no memory for 1000 pages, 3072000 bytes. Ask for fewer, or free something."`,
    );
    expect(live.size).toBe(0);
  });

  test('without a kernel to copy pages nothing is left', async () => {
    const { device, live } = memoryDevice();
    const runtime = createRuntime(device);
    const refused = new PageflashError('compile', 'The compiler refused copy_pages.');
    Object.assign(runtime, { compile: () => Promise.reject(refused) });
    await expect(PagedKvCache.create(runtime, options)).rejects.toBe(refused);
    expect(live.size).toBe(0);
  });

  test('wrong arguments', async () => {
    const { cache } = await setUp();
    const page = new Uint8Array(cache.pageBytes);
    expect([
      refusal(() => cache.layer(3)),
      refusal(() => cache.layer(0.5)),
      refusal(() => cache.copyPages([[0, 10]])),
      refusal(() => cache.copyPages([[0]] as never)),
      refusal(() => cache.copyPages([[0, 1]], {} as never)),
      await rejection(cache.readPages([0, 10])),
      await rejection(cache.readPages(3 as never)),
      refusal(() => cache.writePages([-1], [page])),
      refusal(() => cache.writePages([1, 2], [page])),
      refusal(() => cache.writePages([1], page as never)),
      refusal(() => cache.writePages([1, 2], [page, page.subarray(1)])),
      refusal(() => cache.writePages([1], [page.buffer as never])),
    ]).toMatchInlineSnapshot(`
      [
        "argument: PagedKvCache.layer: there are layers 0 to 2, not 3.",
        "argument: PagedKvCache.layer: there are layers 0 to 2, not 0.5.",
        "length: PagedKvCache.copyPages: pairs[0] copies page 0 to page 10, but the cache has pages 0 to 9.",
        "argument: PagedKvCache.copyPages: pairs[0] must be [from, to], not [0].",
        "argument: PagedKvCache.copyPages: pass must be a GPUComputePassEncoder, not a plain object.",
        "length: PagedKvCache.readPages: pages[1] must be a page from 0 to 9, not 10.",
        "argument: PagedKvCache.readPages: pages must be an array of numbers, not 3.",
        "length: PagedKvCache.writePages: pages[0] must be a page from 0 to 9, not -1.",
        "argument: PagedKvCache.writePages: contents must be an array of 2, one for each page, not 1.",
        "argument: PagedKvCache.writePages: contents must be an array of 1, one for each page, not a Uint8Array.",
        "argument: PagedKvCache.writePages: contents[1] must be a Uint8Array of 3072 bytes, not 3071.",
        "argument: PagedKvCache.writePages: contents[0] must be a Uint8Array of 3072 bytes, not a ArrayBuffer.",
      ]
    `);
  });

  test('without memory for the way to the host nothing is read', async () => {
    const { cache, live } = await setUp({}, 32_000);
    expect(await rejection(cache.readPages([0, 1, 2]))).toMatchInlineSnapshot(
      `"limit: PagedKvCache.readPages: the device has no memory for 9216 bytes on their way to the host. Read less at a time."`,
    );
    expect(live.size).toBe(cache.buffers.length);
  });

  test('after destroy, everything else is refused', async () => {
    const { cache, live } = await setUp();
    cache.destroy();
    cache.destroy();
    expect(live.size).toBe(0);
    expect([
      refusal(() => cache.layer(0)),
      refusal(() => cache.copyPages([])),
      await rejection(cache.readPages([])),
      refusal(() => cache.writePages([], [])),
    ]).toMatchInlineSnapshot(`
      [
        "device: PagedKvCache.layer: the cache was destroyed.",
        "device: PagedKvCache.copyPages: the cache was destroyed.",
        "device: PagedKvCache.readPages: the cache was destroyed.",
        "device: PagedKvCache.writePages: the cache was destroyed.",
      ]
    `);
  });

  test('a destroyed runtime says so, and the cache can still be freed', async () => {
    const { cache, runtime, live } = await setUp();
    runtime.destroy();
    expect([
      refusal(() => cache.copyPages([])),
      await rejection(cache.readPages([])),
      await rejection(PagedKvCache.create(runtime, options)),
    ]).toMatchInlineSnapshot(`
      [
        "device: PagedKvCache.copyPages: the runtime cannot be used any more, since it was destroyed.",
        "device: PagedKvCache.readPages: the runtime cannot be used any more, since it was destroyed.",
        "device: PagedKvCache.create: the runtime cannot be used any more, since it was destroyed.",
      ]
    `);
    cache.destroy();
    expect(live.size).toBe(0);
  });
});
