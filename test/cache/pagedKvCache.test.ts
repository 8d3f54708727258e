import { describe, expect, test } from 'vitest';
import { PagedKvCache, type PagedKvCacheOptions } from '../../src/cache/pagedKvCache.js';
import type { Dispatch } from '../../src/core/dispatch.js';
import { bytesPerElement } from '../../src/core/dtype.js';
import { windowOf } from '../../src/core/tensor.js';
import { createRuntime, PageflashError, type Runtime } from '../../src/index.js';
import { fakeBuffer, fakeDevice } from '../runtime/fakeDevice.js';
import { refusal, rejection } from '../check/refusal.js';

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

  /** A cache on a runtime that compiles nothing, and records what it is to run. */
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
