import { describe, fail } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import { copyPagesKernel, copyPagesSpec, groupPools, type PoolGroup } from '../kernels/copyPages.js';
import { createBuffers, readBytes, writeBytes } from '../runtime/transfers.js';
import type { Runtime } from '../runtime/runtime.js';
import type { CacheShape } from '../sizing/modelShape.js';
import { layoutCache, pageFormat, tensorOf, type CacheLayout, type CacheSize } from './cacheLayout.js';
import { checkPairs, type PagePairs } from './checkCopyPages.js';
import { checkPass } from '../check/checkOptions.js';
import { checkContents, checkMoves, checkPages, type PageMoves } from './checkPages.js';
import { checkRuntime } from '../check/checkRuntime.js';
import { isCount } from '../check/checkTensor.js';
import { HostPages, namingPages } from './hostPages.js';
import { pageTransfers, roomFor } from './pageTransfers.js';
import { copyDispatches, runCopies } from './runCopies.js';

/** The shape of a cache, as in `{ ...model, dtype: 'f16' }`, and its size: `pageSize` and one of the others. */
export type PagedKvCacheOptions = CacheShape &
  CacheSize & {
    /**
     * A cache with the same pages whose host pages the new one takes over, as they were swapped out by `movePages`: that
     * of a lost device, before it is destroyed. It is left without any.
     */
    readonly hostPagesOf?: PagedKvCache | undefined;
  };

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
  readonly #pageFormat: string;
  readonly #hostPages = new HostPages();
  /** A call waits for pages to bring back. */
  #isWaiting = false;
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
    const lost = PagedKvCache.#checkLost(layout, options.hostPagesOf);
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
    if (lost) cache.#hostPages.takeOver(lost.#hostPages);
    return cache;
  }

  /** The cache whose host pages a new one can take over. */
  static #checkLost(layout: CacheLayout, lost: PagedKvCache | undefined): PagedKvCache | undefined {
    if (lost === undefined) return undefined;
    if (!(lost instanceof PagedKvCache))
      fail('argument', CREATE, `hostPagesOf must be a PagedKvCache, not ${describe(lost)}.`);
    if (lost.#isDestroyed)
      fail(
        'argument',
        CREATE,
        'hostPagesOf was destroyed, and its host pages with it. Destroy it afterwards.',
      );
    if (lost.#pageFormat === pageFormat(layout)) return lost;
    fail(
      'argument',
      CREATE,
      `pages of hostPagesOf are ${lost.#pageFormat}, but those of the new cache ${pageFormat(layout)}. Make it of the same shape.`,
    );
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
    this.#pageFormat = pageFormat(layout);
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
    this.#assertSettled(caller);
    const checked = checkPairs(caller, 'pairs', pairs, new Map([['the cache', { shape: [this.nPages] }]]));
    checkPass(caller, pass);
    runCopies(caller, this.#runtime, copyDispatches(caller, this.#runtime, this.#groups, checked), pass);
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
    this.#assertSettled(caller);
    checkPages(caller, pages, this.nPages);
    const contents = roomFor(caller, pages.length, this.pageBytes);
    const transfers = pageTransfers(this.#pools, pages, contents);
    await this.#runtime.read(caller, transfers);
    return contents;
  }

  /**
   * Write pages from host memory, `contents[i]` to `pages[i]`: after all work submitted before the call, and before all
   * that is submitted later, in a pass recorded already or not.
   */
  writePages(pages: ArrayLike<number>, contents: readonly Uint8Array[]): void {
    const caller = 'PagedKvCache.writePages';
    this.#assertSettled(caller);
    checkPages(caller, pages, this.nPages);
    checkContents(caller, contents, { nPages: pages.length, pageBytes: this.pageBytes });
    this.#write(caller, pages, contents);
  }

  /** Bytes of the pages in host memory. A page of it is kept until another one takes its place, or `destroy`. */
  get hostBytes(): number {
    return this.#hostPages.bytes;
  }

  /**
   * Make the copies of a step, in this order: `swapsOut` to host pages, which the cache keeps by their numbers, `copies`,
   * and `swapsIn` from host pages. Pairs that a `PageManager` gives can be passed as well.
   *
   * Work submitted before the call comes before all of this. Of work submitted after the call has returned, what needs no
   * page of `swapsIn` may come at once; for the others, wait for the promise. It resolves when the host has the pages of
   * `swapsOut` and those of `swapsIn` are written, which then come before all that is submitted later. Until then, the
   * cache copies, reads and writes nothing else if pages are to be brought back that have not yet arrived themselves.
   *
   * If pages do not arrive, as without memory on the way, or if the device is lost meanwhile, the promise rejects, and so
   * does whatever brings them back later. Then compute again what was in them: `planner.reset()`.
   *
   * @throws PageflashError before anything is done, for pages that are not there; `limit` if the host or the way to it
   * has no memory; `device` if the device is lost
   * @example
   * const moved = cache.movePages(step);
   * if (step.swapsIn.length > 0) await moved;
   * … // submit the work of the step
   * await moved;
   * planner.commit(tokens);
   */
  movePages(step: PageMoves): Promise<void> {
    try {
      const moved = this.#move('PagedKvCache.movePages', step);
      // Where it is not awaited, the error comes out when the pages are brought back.
      moved.catch(() => {});
      return moved;
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  /** Free the memory, on the host too. Harmless if that was done before. */
  destroy(): void {
    this.#isDestroyed = true;
    this.#hostPages.clear();
    for (const buffer of this.buffers) buffer.destroy();
  }

  /** Whatever can be done without waiting is done when this returns. */
  #move(caller: string, step: PageMoves): Promise<void> {
    this.#assertSettled(caller);
    const hostPages = this.#hostPages;
    const { swapsOut, copies, swapsIn } = checkMoves(caller, step, { nPages: this.nPages, hostPages });
    const dispatches = copyDispatches(caller, this.#runtime, this.#groups, copies);
    const contents = roomFor(caller, swapsOut.pages.length, this.pageBytes);
    const transfers = pageTransfers(this.#pools, swapsOut.pages, contents);
    const reading = this.#runtime.until(caller, readBytes(caller, this.#runtime.device, transfers));
    const arrival = namingPages(caller, swapsOut.hostPages, reading);
    hostPages.put(swapsOut.hostPages, contents, arrival);
    runCopies(caller, this.#runtime, dispatches);
    const back = hostPages.take(swapsIn.hostPages);
    if (back instanceof Promise)
      return Promise.all([arrival, this.#writeLater(caller, swapsIn.pages, back)]).then(() => {});
    this.#write(caller, swapsIn.pages, back);
    return arrival;
  }

  async #writeLater(
    caller: string,
    pages: readonly number[],
    contents: Promise<readonly Uint8Array[]>,
  ): Promise<void> {
    this.#isWaiting = true;
    const arrived = await contents.finally(() => {
      this.#isWaiting = false;
    });
    this.#assertUsable(caller);
    this.#write(caller, pages, arrived);
  }

  #write(caller: string, pages: ArrayLike<number>, contents: readonly Uint8Array[]): void {
    if (pages.length === 0) return;
    const { device } = this.#runtime;
    this.#runtime.watch(caller, () => writeBytes(device, pageTransfers(this.#pools, pages, contents)));
  }

  /** Checks that nothing must come first. */
  #assertSettled(caller: string): void {
    this.#assertUsable(caller);
    if (!this.#isWaiting) return;
    fail(
      'argument',
      caller,
      'pages of an earlier movePages are still to be brought back, and must come first. Wait for its promise.',
    );
  }

  #assertUsable(caller: string): void {
    if (this.#isDestroyed) fail('device', caller, 'the cache was destroyed.');
    this.#runtime.assertAlive(caller);
  }
}
