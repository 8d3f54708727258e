import { Call, checkPass, isCount } from '../check/call.js';
import { checkNames } from '../core/checkArguments.js';
import { describe } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import type { PageManager } from '../paging/pageManager.js';
import type { SavedPages } from '../paging/saving.js';
import type { SequenceId } from '../paging/sequenceRegistry.js';
import { cachePagesVariant, groupPools, type PoolGroup } from '../kernels/copyPages.js';
import { createBuffers, readBytes, writeBytes } from '../runtime/transfers.js';
import type { Runtime } from '../runtime/runtime.js';
import {
  layersOf,
  layersBytes,
  layoutCache,
  pageFormat,
  poolsOf,
  type CacheLayer,
  type CacheLayout,
  type CacheOptions,
} from './cacheLayout.js';
import { HostPages, namingPages, pageTransfers, roomFor } from './hostPages.js';
import {
  checkContents,
  checkMoves,
  checkPageNumbers,
  checkPairs,
  type PageMoves,
  type PagePairs,
} from './pageMoves.js';
import { copyDispatches, runCopies } from './pagePools.js';
import { checkRestore, restoreSequence, type RestoreSequenceArgs } from './restoreSequence.js';
import { readSaved, type ReadSavedArgs, type SavedSequence } from './savedSequence.js';
import { checkFingerprint, checkGeometry, geometryOf } from './saveFormat.js';
import { SAVE_SEQUENCE_NAMES, saveStream, type SaveSequenceArgs } from './saveStream.js';

/** The shape of a cache, as in `{ ...model, dtype: 'f16' }`, and its size: `pageSize` and one of the others. */
export type PagedKvCacheOptions = CacheOptions<PagedKvCache>;

/**
 * The GPU memory of a paged KV cache. Each page exists in every layer, for keys and for values. A `BlockAllocator` or a
 * `PageManager` decides which sequence a page belongs to.
 *
 * With `valuesInKeys`, as for MLA, only keys are stored: `layer` gives values as a view of them, and `attnWithKvCache` is
 * called without `v`.
 *
 * Pages are zeros at first. They begin at multiples of 16 bytes, in as few buffers as the device allows. The tensors of
 * `layer` say where, so your own kernels can use them too; the buffers have the usages STORAGE, COPY_SRC and COPY_DST.
 *
 * A cache of `dtype: 'i8'` or `'i4'` has scales beside its pages, of `scaleDType` (f16 by default), which `layer` gives as
 * `kScale` and `vScale`; they are copied, moved and saved with the pages. That of `'e4m3'` has the scales 1, or those that
 * `kScale` and `vScale` give for each layer. With `kvRotation` heads of all three are turned, as `layer` tells the calls that
 * it is spread into.
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
  /** Tokens per page. */
  readonly pageSize: number;
  /** Bytes of a page in all layers, as `readPages` returns them. */
  readonly pageBytes: number;
  /** Bytes of all buffers. */
  readonly bytes: number;
  readonly buffers: readonly GPUBuffer[];
  readonly #runtime: Runtime;
  readonly #layers: readonly CacheLayer[];
  /** Words [P, a page with its padding]: the keys of the first layer, its values, scales, the keys of the second, ... */
  readonly #pools: readonly Tensor[];
  readonly #groups: readonly PoolGroup[];
  readonly #layout: CacheLayout;
  readonly #hostPages = new HostPages();
  /** Whether a call is waiting for pages that it is to write. */
  #isWaiting = false;
  #isDestroyed = false;

  /**
   * Makes a cache. If that fails, all of its memory is freed.
   *
   * @throws PageflashError `argument` for a wrong shape or size; `limit` if the keys or the values of a layer are larger
   * than the device allows, with the number of pages that would fit, or if there is no memory left
   */
  static async create(runtime: Runtime, options: PagedKvCacheOptions): Promise<PagedKvCache> {
    const call: Call = Call.on(runtime, 'PagedKvCache.create');
    const { device } = runtime;
    const layout = layoutCache(call, options, device.limits.maxBufferSize);
    const lost = PagedKvCache.#checkLost(call, layout, options.hostPagesOf);
    const buffers = await createBuffers(device, 'pageflash kv cache', layout.buffers);
    if (!buffers) {
      call.refuse(
        'limit',
        `the device has no memory for ${layout.nPages} pages, ${layout.bytes} bytes. Ask for fewer, or free something.`,
      );
    }
    const cache = new PagedKvCache(runtime, layout, buffers);
    try {
      runtime.assertAlive(call.name);
      cache.#writeHeadScales(call);
      // So that the first copy does not wait for the compiler.
      await runtime.compile(call.name, [cachePagesVariant()]);
    } catch (error) {
      cache.destroy();
      throw error;
    }
    if (lost) cache.#hostPages.takeOver(lost.#hostPages);
    return cache;
  }

  /** Checks that the host pages of a cache can be moved to a new one. */
  static #checkLost(
    call: Call,
    layout: CacheLayout,
    lost: PagedKvCache | undefined,
  ): PagedKvCache | undefined {
    if (lost === undefined) return undefined;
    if (!(lost instanceof PagedKvCache)) call.refuseValue('hostPagesOf', 'a PagedKvCache', lost);
    if (lost.#isDestroyed)
      call.refuse(
        'argument',
        'hostPagesOf was destroyed, and its host pages with it. Destroy it afterwards.',
      );
    if (pageFormat(lost.#layout) === pageFormat(layout)) return lost;
    call.refuse(
      'argument',
      `pages of hostPagesOf are ${pageFormat(lost.#layout)}, but those of the new cache ${pageFormat(layout)}. Make it of the same shape.`,
    );
  }

  private constructor(runtime: Runtime, layout: CacheLayout, buffers: readonly GPUBuffer[]) {
    const { nLayers, nPages, pageSize, bytes } = layout;
    this.nLayers = nLayers;
    this.nPages = nPages;
    this.pageSize = pageSize;
    this.pageBytes = layersBytes(layout);
    this.bytes = bytes;
    this.buffers = buffers;
    this.#runtime = runtime;
    this.#layout = layout;
    this.#layers = layersOf(layout, buffers);
    this.#pools = poolsOf(layout, buffers);
    this.#groups = groupPools(this.#pools, runtime.traits.maxBindingBytes);
  }

  /** The tensors of a layer. Each call returns the same objects. */
  layer(index: number): CacheLayer {
    const call: Call = this.#call('layer');
    const layer = isCount(index) ? this.#layers[index] : undefined;
    if (layer) return layer;
    call.refuse('argument', `there are layers 0 to ${this.nLayers - 1}, not ${describe(index)}.`);
  }

  /**
   * Copies pages in all layers, one pair [from, to] after the other: a page that was read may be written by a later pair,
   * and a page that was written may be read. Records into `pass`, which the caller ends and submits, or submits at once.
   */
  copyPages(pairs: PagePairs, pass?: GPUComputePassEncoder): void {
    const call = this.#settledCall('copyPages');
    const checked = checkPairs(call, 'pairs', pairs, { name: 'the cache', nPages: this.nPages });
    checkPass(call, pass);
    runCopies(call, this.#runtime, copyDispatches(call, this.#groups, checked), pass);
  }

  /**
   * Copies pages to host memory, `pageBytes` each, as they are after all work submitted before the call. Work that
   * overwrites them can be submitted without waiting. A staging buffer of the same size is needed.
   *
   * A page holds, layer after layer, its keys [pageSize, Hkv, D] and its values [pageSize, Hkv, Dv], in the cache's type,
   * and in i8 and i4 the scales of its keys and of its values, each padded to a multiple of 16 bytes. Of values that are a
   * part of keys there is nothing.
   *
   * @throws PageflashError `limit` if there is no memory for the staging buffer, `device` if the device is lost
   * @example
   * const saved = await cache.readPages(allocator.pages(chat)); // swap out ...
   * cache.writePages(allocator.pages(again), saved); // ... and in, to other pages
   */
  async readPages(pages: ArrayLike<number>): Promise<Uint8Array<ArrayBuffer>[]> {
    const call = this.#settledCall('readPages');
    checkPageNumbers(call, pages, this.nPages);
    const contents = roomFor(call, pages.length, this.pageBytes);
    const transfers = pageTransfers(this.#pools, pages, contents);
    await this.#runtime.read(call.name, transfers);
    return contents;
  }

  /**
   * Writes pages from host memory, `contents[i]` to `pages[i]`: after all work submitted before the call, and before all
   * work submitted later, even if it was recorded before.
   */
  writePages(pages: ArrayLike<number>, contents: readonly Uint8Array[]): void {
    const call = this.#settledCall('writePages');
    checkPageNumbers(call, pages, this.nPages);
    checkContents(call, contents, { nPages: pages.length, pageBytes: this.pageBytes });
    this.#write(call, pages, contents);
  }

  /** Bytes of the pages in host memory. Each is kept until another one replaces it, or until `destroy`. */
  get hostBytes(): number {
    return this.#hostPages.bytes;
  }

  /**
   * Makes the copies of a step, in this order: `swapsOut` to host pages, which the cache keeps by their numbers, `copies`,
   * and `swapsIn` from host pages. The pairs of a `PageManager` can be passed as well.
   *
   * Work submitted before the call runs before all of this. Work that needs no page of `swapsIn` can be submitted as soon
   * as the call has returned; for other work, wait for the promise. It resolves when the pages of `swapsOut` have arrived
   * on the host and those of `swapsIn` are written, before all work submitted later. If a page of `swapsIn` has itself
   * not arrived yet, the cache refuses to copy, read or write anything until the promise settles.
   *
   * If pages do not arrive, as without memory for a staging buffer, or if the device is lost meanwhile, the promise rejects,
   * and so does a later call that swaps them in. Then recompute what was in them: `planner.reset()`.
   *
   * @throws PageflashError before anything is done, for pages that do not exist; `limit` if there is no memory on the host
   * or for the staging buffer; `device` if the device is lost
   * @example
   * const moved = cache.movePages(step);
   * if (step.swapsIn.length > 0) await moved;
   * … // submit the work of the step
   * await moved;
   * planner.commit(tokens);
   */
  movePages(step: PageMoves): Promise<void> {
    try {
      const moved = this.#move(step);
      // If nothing awaits it, the error is thrown when the pages are swapped in.
      moved.catch(() => {});
      return moved;
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  /**
   * Saves a sequence, as it is now, as a stream of bytes: its tokens, and the keys and values of those that are computed.
   * With `tokens` instead of `sequence`, it is what the prefix cache has of them in whole pages, so that a conversation can
   * be saved after its sequence has ended.
   *
   * Everything goes on meanwhile: the pages are held until the stream was read to its end or cancelled, so do one of
   * these. They are read a few MB at a time. Copies that the manager has asked for so far must be made before, and those
   * of a `resize` at once. Not while the sequence is in flight; forks, swapped sequences and such that are half computed
   * are saved as they are. With a window, the pages that left it are gone for the saved one as well.
   *
   * @throws PageflashError before anything is held; the stream fails with one if the pages cannot be read any more
   * @example
   * await cache.save({ pages, sequence: chat, fingerprint }).pipeTo(await file.createWritable());
   */
  save(args: SaveSequenceArgs): ReadableStream<Uint8Array<ArrayBuffer>> {
    const call = this.#settledCall('save');
    checkNames(call.name, args, SAVE_SEQUENCE_NAMES);
    const { pages, fingerprint, ...what } = args;
    this.#checkManager(call, pages);
    checkFingerprint(call, fingerprint);
    const saved = call.inPlaceOf('PageManager.save', () => pages.save(what));
    const read = this.#reader(call, saved);
    return saveStream({ call, layout: this.#layout, pageBytes: this.pageBytes, fingerprint, saved, read });
  }

  /**
   * Reads what was saved, and checks every byte of it; nothing of the cache is touched. A `Blob`, such as a `File`, is read
   * once more by `restore`, piece by piece; of any other source the pages are kept in memory. `tokens` of what it gives are
   * those of the sequence.
   *
   * @throws PageflashError `argument` for what is damaged, cut off, of another format, fingerprint, page size or shape of
   * the cache; `limit` if it has more pages than the cache. The reason of `signal`, and errors of the source, as they are
   */
  async readSaved(args: ReadSavedArgs): Promise<SavedSequence> {
    const call = this.#call('readSaved');
    return readSaved(call, args, { layout: this.#layout, pageBytes: this.pageBytes });
  }

  /**
   * Restores a sequence that was read. It goes on where it was, with the same bits; full pages can be found by other
   * prompts, and what the prefix cache has of it already is shared instead of written. `'full'` if there are too few free
   * pages: then nothing has changed.
   *
   * Pages are taken at once, so call it when the copies that the manager has asked for so far are made. With a
   * `StepPlanner` there is nothing to mind: pages that a planned step deals with are not taken, and the sequence is the
   * planner's as soon as the promise resolves. `planner.finish` leaves its pages to be found by later prompts. From memory
   * all is written when the call returns; from a `Blob` piece by piece, while everything else goes on.
   *
   * @throws PageflashError before any page is taken; and if pages are reset, the source has changed or the device is lost
   * meanwhile, when all pages are given back. The reason of `signal`, and errors of the source, as they are
   * @example
   * const saved = await cache.readSaved({ source: await file.getFile(), fingerprint });
   * const chat = await cache.restore({ pages, saved });
   * if (chat === 'full') … // compute saved.tokens again, or wait for room
   */
  restore(args: RestoreSequenceArgs): Promise<SequenceId | 'full'> {
    try {
      const call = this.#settledCall('restore');
      checkNames(call.name, args, undefined);
      this.#checkManager(call, args.pages);
      checkRestore(call, args);
      const { description } = args.saved;
      checkGeometry(call, description, geometryOf(this.#layout, description.fingerprint));
      return restoreSequence(call, args, {
        assertUsable: () => this.#assertUsable(call),
        write: (pages, contents) => this.#write(call, pages, contents),
        done: () => this.#runtime.done(),
      });
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  /** Frees the memory, on the host too. A second call does nothing. */
  destroy(): void {
    this.#isDestroyed = true;
    this.#hostPages.clear();
    for (const buffer of this.buffers) buffer.destroy();
  }

  /** Checks that a manager deals in pages of this cache. */
  #checkManager(call: Call, pages: PageManager): void {
    // Asked so that programs without a PageManager need not load one.
    if (typeof pages?.restore !== 'function') call.refuseValue('pages', 'a PageManager', pages);
    const { pageSize, nPages } = pages;
    if (pageSize !== this.pageSize)
      call.refuse(
        'argument',
        `pages has pages of ${pageSize} tokens, but the cache of ${this.pageSize}. Pass the manager of this cache.`,
      );
    if (nPages > this.nPages)
      call.refuse(
        'argument',
        `pages has ${nPages} pages, but the cache ${this.nPages}. Pass the manager of this cache.`,
      );
  }

  /** A function that reads pages of what is saved, counted from 0, into their contents. */
  #reader(call: Call, saved: SavedPages) {
    const { hostPages } = saved;
    const fromHost = hostPages && this.#hostPages.takeWritten(call, hostPages);
    return async (first: number, contents: readonly Uint8Array<ArrayBuffer>[]): Promise<void> => {
      if (fromHost) {
        const arrived = await fromHost;
        contents.forEach((content, i) => content.set(arrived[first + i]!));
        return;
      }
      this.#assertUsable(call);
      const held = call.inPlaceOf('PageManager.save', () => saved.pages);
      const pages = held.slice(first, first + contents.length);
      await this.#runtime.read(call.name, pageTransfers(this.#pools, pages, contents));
    };
  }

  /** Does everything that need not wait before it returns. */
  #move(step: PageMoves): Promise<void> {
    const call = this.#settledCall('movePages');
    const hostPages = this.#hostPages;
    const { swapsOut, copies, swapsIn } = checkMoves(call, step, { nPages: this.nPages, hostPages });
    const dispatches = copyDispatches(call, this.#groups, copies);
    const contents = roomFor(call, swapsOut.pages.length, this.pageBytes);
    const transfers = pageTransfers(this.#pools, swapsOut.pages, contents);
    const reading = this.#runtime.untilEnded(
      call.name,
      readBytes(call.name, this.#runtime.device, transfers),
    );
    const arrival = namingPages(call, swapsOut.hostPages, reading);
    hostPages.put(swapsOut.hostPages, contents, arrival);
    runCopies(call, this.#runtime, dispatches);
    const back = hostPages.take(swapsIn.hostPages);
    if (back instanceof Promise)
      return Promise.all([arrival, this.#writeLater(call, swapsIn.pages, back)]).then(() => {});
    this.#write(call, swapsIn.pages, back);
    return arrival;
  }

  async #writeLater(
    call: Call,
    pages: readonly number[],
    contents: Promise<readonly Uint8Array[]>,
  ): Promise<void> {
    this.#isWaiting = true;
    const arrived = await contents.finally(() => {
      this.#isWaiting = false;
    });
    this.#assertUsable(call);
    this.#write(call, pages, arrived);
  }

  #write(call: Call, pages: ArrayLike<number>, contents: readonly Uint8Array[]): void {
    if (pages.length === 0) return;
    const { device } = this.#runtime;
    this.#runtime.inNameOf(call.name, () => writeBytes(device, pageTransfers(this.#pools, pages, contents)));
  }

  /** Writes the scales of e4m3 that were given, if any. */
  #writeHeadScales(call: Call): void {
    const { headScales } = this.#layout;
    if (!headScales) return;
    const { device } = this.#runtime;
    const { bytes } = headScales;
    this.#runtime.inNameOf(call.name, () =>
      writeBytes(device, [{ buffer: this.buffers.at(-1)!, offset: 0, bytes }]),
    );
  }

  /** A call of a method, while no earlier call waits for pages. */
  #settledCall(method: string): Call {
    const call: Call = this.#call(method);
    if (this.#isWaiting) {
      call.refuse(
        'argument',
        'pages of an earlier movePages are still to be brought back, and must come first. Wait for its promise.',
      );
    }
    return call;
  }

  /** A call of a method of a cache that can be used. */
  #call(method: string): Call {
    const call = new Call(`PagedKvCache.${method}`, this.#runtime);
    this.#assertUsable(call);
    return call;
  }

  #assertUsable(call: Call): void {
    if (this.#isDestroyed) call.refuse('device', 'the cache was destroyed.');
    this.#runtime.assertAlive(call.name);
  }
}
