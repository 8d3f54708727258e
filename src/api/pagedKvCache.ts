import { describe } from '../core/describe.js';
import { bytesPerElement } from '../core/dtype.js';
import { fail } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import { copyPagesKernel, copyPagesSpec, groupPools, type PoolGroup } from '../kernels/copyPages.js';
import { createBuffers } from '../runtime/createBuffers.js';
import type { Runtime } from '../runtime/runtime.js';
import { writeBytes, type Transfer } from '../runtime/transfers.js';
import type { CacheShape } from '../sizing/kvCache.js';
import { layoutCache, type CacheLayout, type CacheSize, type PageLayout, type Place } from './cacheLayout.js';
import { checkPairs, type PagePairs } from './checkCopyPages.js';
import { isHostArray } from './checkNumbers.js';
import { checkPass } from './checkOptions.js';
import { checkRuntime } from './checkRuntime.js';
import { isCount } from './checkTensor.js';
import { runCopies } from './runCopies.js';

/** The shape of a cache, as in `{ ...model, dtype: 'f16' }`, and its size: `pageSize` and one of the others. */
export type PagedKvCacheOptions = CacheShape & CacheSize;

/** The pages of one layer, to be spread into the arguments of `attnWithKvCache`. */
export interface CacheLayer {
  /** [P, pageSize, Hkv, D] */
  readonly kCache: Tensor;
  /** [P, pageSize, Hkv, Dv] */
  readonly vCache: Tensor;
}

const CREATE = 'PagedKvCache.create';

/**
 * The memory of a paged KV cache. Page p is there in every layer, for keys and for values; who has it is the business of
 * a `BlockAllocator` or a `PageManager`.
 *
 * Pages begin as zeros, at multiples of 16 bytes, in as few buffers as the device allows. The tensors of `layer` say
 * where, so kernels of one's own can use them as well; the buffers have the usages STORAGE, COPY_SRC and COPY_DST.
 *
 * Methods throw `PageflashError` before anything is recorded or written: `device` after `destroy`, or once the runtime
 * is gone.
 *
 * @example
 * const cache = await PagedKvCache.create(runtime, { ...model, dtype: 'f16', pageSize: 16, bytes: 2 ** 30 });
 * const allocator = new BlockAllocator(cache);
 * const chat = allocator.create();
 *
 * const copies = allocator.append(chat, nNew);
 * if (copies === 'full') … // release a sequence, or swap one out
 * cache.copyPages(copies, pass);
 * const { cacheSeqlens, blockTable } = allocator.batch([chat], [nNew]);
 * for (let i = 0; i < cache.nLayers; i++)
 *   attnWithKvCache(runtime, { q, k, v, ...cache.layer(i), cacheSeqlens, blockTable, causal: true, pass });
 */
export class PagedKvCache {
  readonly nLayers: number;
  /** Pages of each layer. */
  readonly nPages: number;
  /** Tokens a page. */
  readonly pageSize: number;
  /** Bytes of a page in all layers, as `readPages` gives them. */
  readonly pageBytes: number;
  /** Bytes of all buffers. */
  readonly bytes: number;
  readonly buffers: readonly GPUBuffer[];
  readonly #runtime: Runtime;
  readonly #layers: readonly CacheLayer[];
  /** Words [P, a page with its padding]: the keys of the first layer, its values, the keys of the second, ... */
  readonly #pools: readonly Tensor[];
  readonly #groups: readonly PoolGroup[];
  #isDestroyed = false;

  /**
   * Make a cache. If that fails, nothing is left of it.
   *
   * @throws PageflashError `argument` for a wrong shape or size; `limit` if the keys or the values of a layer are larger
   * than the device allows, with how many pages would do, or if there is no memory left
   */
  static async create(runtime: Runtime, options: PagedKvCacheOptions): Promise<PagedKvCache> {
    checkRuntime(CREATE, runtime);
    const { device, traits } = runtime;
    const layout = layoutCache(CREATE, options, {
      maxBufferSize: device.limits.maxBufferSize,
      maxStorageBufferBindingSize: traits.maxBindingBytes,
    });
    const buffers = await createBuffers(device, 'pageflash kv cache', layout.buffers);
    if (!buffers) {
      fail(
        'limit',
        CREATE,
        `the device has no memory for ${layout.nPages} pages, ${layout.bytes} bytes. Ask for fewer, or free something.`,
      );
    }
    const cache = new PagedKvCache(runtime, layout, buffers);
    try {
      runtime.assertAlive(CREATE);
      // So that the first copy does not wait for a compiler.
      await runtime.compile(CREATE, [{ kernel: copyPagesKernel, spec: copyPagesSpec(true) }]);
    } catch (error) {
      cache.destroy();
      throw error;
    }
    return cache;
  }

  private constructor(runtime: Runtime, layout: CacheLayout, buffers: readonly GPUBuffer[]) {
    const { nLayers, nPages, pageSize, k, v, bytes, places } = layout;
    this.nLayers = nLayers;
    this.nPages = nPages;
    this.pageSize = pageSize;
    this.pageBytes = nLayers * (k.strideBytes + v.strideBytes);
    this.bytes = bytes;
    this.buffers = buffers;
    this.#runtime = runtime;
    this.#layers = Array.from({ length: nLayers }, (_, i) => ({
      kCache: tensorOf(layout, k, places[2 * i]!, buffers),
      vCache: tensorOf(layout, v, places[2 * i + 1]!, buffers),
    }));
    this.#pools = places.map(({ buffer, offset }, i) => ({
      buffer: buffers[buffer]!,
      dtype: 'u32',
      shape: [nPages, (i % 2 === 0 ? k : v).strideBytes / 4],
      offset: offset / 4,
    }));
    this.#groups = groupPools(this.#pools, runtime.traits.maxBindingBytes);
  }

  /** The tensors of a layer, the same objects each time. */
  layer(index: number): CacheLayer {
    const caller = 'PagedKvCache.layer';
    this.#assertUsable(caller);
    const layer = isCount(index) ? this.#layers[index] : undefined;
    if (layer) return layer;
    fail('argument', caller, `there are layers 0 to ${this.nLayers - 1}, not ${describe(index)}.`);
  }

  /**
   * Copy pages in all layers, one pair [from, to] after the other: a page may be written after it was read, and what was
   * just copied may be copied on. Recorded into a pass that the caller ends and submits, or else submitted at once.
   */
  copyPages(pairs: PagePairs, pass?: GPUComputePassEncoder): void {
    const caller = 'PagedKvCache.copyPages';
    this.#assertUsable(caller);
    const checked = checkPairs(caller, pairs, new Map([['the cache', { shape: [this.nPages] }]]));
    checkPass(caller, pass);
    runCopies(caller, this.#runtime, this.#groups, checked, pass);
  }

  /**
   * Bring pages to host memory: `pageBytes` each, as all work submitted before the call leaves them. There is no need to
   * wait before they are written again. As much GPU memory is needed on the way.
   *
   * A page holds, layer after layer, its keys [pageSize, Hkv, D] and its values [pageSize, Hkv, Dv], in the bits of the
   * cache's type, each filled up to a multiple of 16 bytes.
   *
   * @throws PageflashError `limit` if there is no memory on the way, `device` if the device is lost
   * @example
   * const saved = await cache.readPages(allocator.pages(chat)); // swap out ...
   * cache.writePages(allocator.pages(again), saved); // ... and in, to other pages
   */
  async readPages(pages: ArrayLike<number>): Promise<Uint8Array<ArrayBuffer>[]> {
    const caller = 'PagedKvCache.readPages';
    this.#assertUsable(caller);
    this.#checkPages(caller, pages);
    const contents = this.#roomFor(caller, pages);
    const transfers = this.#transfers(pages, contents);
    await this.#runtime.read(caller, transfers);
    return contents;
  }

  /**
   * Write pages from host memory, `contents[i]` to `pages[i]`: after all work submitted before the call, and before all
   * that is submitted later, in a pass recorded already or not.
   */
  writePages(pages: ArrayLike<number>, contents: readonly Uint8Array[]): void {
    const caller = 'PagedKvCache.writePages';
    this.#assertUsable(caller);
    this.#checkPages(caller, pages);
    this.#checkContents(caller, contents, pages.length);
    const { device } = this.#runtime;
    this.#runtime.watch(caller, () => writeBytes(device, this.#transfers(pages, contents)));
  }

  /** Free the memory. Harmless if that was done before. */
  destroy(): void {
    this.#isDestroyed = true;
    for (const buffer of this.buffers) buffer.destroy();
  }

  #roomFor(caller: string, pages: ArrayLike<number>): Uint8Array<ArrayBuffer>[] {
    try {
      return Array.from(pages, () => new Uint8Array(this.pageBytes));
    } catch {
      const bytes = pages.length * this.pageBytes;
      fail('limit', caller, `the host has no memory for ${bytes} bytes. Read fewer pages at a time.`);
    }
  }

  /** Each page of each pool, in the order of `readPages`. */
  #transfers(pages: ArrayLike<number>, contents: readonly Uint8Array[]): Transfer[] {
    const transfers: Transfer[] = [];
    contents.forEach((content, i) => {
      let at = 0;
      for (const { buffer, shape, offset } of this.#pools) {
        const bytes = content.subarray(at, at + 4 * shape[1]!);
        transfers.push({ buffer, offset: 4 * offset! + pages[i]! * bytes.length, bytes });
        at += bytes.length;
      }
    });
    return transfers;
  }

  #checkPages(caller: string, pages: ArrayLike<number>): void {
    if (!isHostArray(pages))
      fail('argument', caller, `pages must be an array of numbers, not ${describe(pages)}.`);
    for (let i = 0; i < pages.length; i++) {
      if (isCount(pages[i]) && pages[i]! < this.nPages) continue;
      fail(
        'length',
        caller,
        `pages[${i}] must be a page from 0 to ${this.nPages - 1}, not ${describe(pages[i])}.`,
      );
    }
  }

  #checkContents(caller: string, contents: readonly Uint8Array[], nPages: number): void {
    if (!Array.isArray(contents) || contents.length !== nPages) {
      const got = Array.isArray(contents) ? contents.length : describe(contents);
      fail('argument', caller, `contents must be an array of ${nPages}, one for each page, not ${got}.`);
    }
    Array.from(contents).forEach((content: unknown, i) => {
      if (content instanceof Uint8Array && content.length === this.pageBytes) return;
      const got = content instanceof Uint8Array ? `${content.length}` : describe(content);
      fail('argument', caller, `contents[${i}] must be a Uint8Array of ${this.pageBytes} bytes, not ${got}.`);
    });
  }

  #assertUsable(caller: string): void {
    if (this.#isDestroyed) fail('device', caller, 'the cache was destroyed.');
    this.#runtime.assertAlive(caller);
  }
}

function tensorOf(
  { dtype, nPages, pageSize, nKvHeads }: CacheLayout,
  { headDim, strideBytes }: PageLayout,
  { buffer, offset }: Place,
  buffers: readonly GPUBuffer[],
): Tensor {
  const elementBytes = bytesPerElement(dtype);
  return {
    buffer: buffers[buffer]!,
    dtype,
    shape: [nPages, pageSize, nKvHeads, headDim],
    offset: offset / elementBytes,
    strides: [strideBytes / elementBytes, nKvHeads * headDim, headDim, 1],
  };
}
