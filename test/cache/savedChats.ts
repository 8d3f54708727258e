import { PagedKvCache, type PagedKvCacheOptions } from '../../src/cache/pagedKvCache.js';
import { bytesPerElement } from '../../src/core/dtype.js';
import { createRuntime, PageManager, type PageManagerOptions, type Runtime } from '../../src/index.js';
import { ramDevice, type RamDevice } from '../runtime/ramDevice.js';

export const SHAPE = { nLayers: 2, nKvHeads: 1, headDim: 3, headDimV: 5, dtype: 'f16', pageSize: 4 } as const;
export const FINGERPRINT = 'tiny model, f16';

/** A cache in RAM beside the manager of its pages, with a model that writes what depends on all tokens so far. */
export class SavedChats {
  readonly ram: RamDevice;
  readonly runtime: Runtime;
  readonly cache: PagedKvCache;
  readonly pages: PageManager;
  readonly #options: PagedKvCacheOptions;

  static async create(options: Partial<PagedKvCacheOptions & PageManagerOptions> = {}): Promise<SavedChats> {
    const { nHostPages = 0, window = -1, isCaching = true, onEvent, ...rest } = options;
    const shape = { nPages: 16, ...SHAPE, ...rest } as PagedKvCacheOptions & { nPages: number };
    const managed = { nPages: shape.nPages, pageSize: shape.pageSize, nHostPages, window, isCaching };
    const pages = new PageManager(onEvent ? { ...managed, onEvent } : managed);
    const ram = ramDevice();
    const runtime = createRuntime(ram.device);
    Object.assign(runtime, { compile: () => Promise.resolve() });
    const cache = await PagedKvCache.create(runtime, shape);
    return new SavedChats({ ram, runtime, cache, pages, options: shape });
  }

  private constructor(
    parts: Pick<SavedChats, 'ram' | 'runtime' | 'cache' | 'pages'> & { options: PagedKvCacheOptions },
  ) {
    this.ram = parts.ram;
    this.runtime = parts.runtime;
    this.cache = parts.cache;
    this.pages = parts.pages;
    this.#options = parts.options;
  }

  /** A sequence of which the first tokens are computed. */
  async chat(tokens: readonly number[], nComputed = tokens.length, options = {}): Promise<number> {
    const chat = this.pages.add(tokens, options);
    await this.compute(chat, nComputed);
    return chat;
  }

  /** Compute up to so many more tokens. */
  async compute(chat: number, nTokens?: number): Promise<void> {
    const copies = this.pages.reserve(chat, nTokens);
    if (copies === 'full') throw new Error('The pool is full.');
    for (const [from, to] of copies) this.cache.writePages([to], await this.cache.readPages([from]));
    await this.write(chat);
    this.pages.commit(chat);
  }

  /** What kernels do with the tokens in flight. */
  async write(chat: number): Promise<void> {
    const { nComputed, nInFlight } = this.pages.sequence(chat);
    const { blockTable } = this.pages.batch([chat]);
    const { pageSize } = this.#options;
    for (let position = nComputed; position < nComputed + nInFlight; position++) {
      const page = blockTable[Math.floor(position / pageSize)]!;
      const [content] = await this.cache.readPages([page]);
      this.#slots(position % pageSize).forEach(([start, end], part) =>
        content!.fill(this.#byte(chat, position, part), start, end),
      );
      this.cache.writePages([page], [content!]);
    }
  }

  /** Whether every computed token of a chat that is not behind the window has what was written for it, and no other. */
  async wrongTokens(chat: number): Promise<string[]> {
    const { pageSize } = this.#options;
    const { pages, nComputed } = this.pages.snapshot().sequences.find(({ id }) => id === chat)!;
    const wrong: string[] = [];
    for (let position = 0; position < nComputed; position++) {
      const page = pages[Math.floor(position / pageSize)]!;
      if (page < 0) continue;
      const [content] = await this.cache.readPages([page]);
      this.#slots(position % pageSize).forEach(([start, end], part) => {
        const byte = this.#byte(chat, position, part);
        if (content!.subarray(start, end).some((actual) => actual !== byte))
          wrong.push(`token ${position}, part ${part}`);
      });
    }
    return wrong;
  }

  /** Where a slot lies in the bytes of a page: keys and values of the first layer, of the second, … */
  #slots(slot: number): (readonly [start: number, end: number])[] {
    const { nLayers, nKvHeads, headDim, headDimV = headDim, pageSize, dtype } = this.#options;
    let at = 0;
    return Array.from({ length: 2 * nLayers }, (_, part) => {
      const bytes = nKvHeads * (part % 2 === 0 ? headDim : headDimV) * bytesPerElement(dtype);
      const start = at + slot * bytes;
      at += Math.ceil((pageSize * bytes) / 16) * 16;
      return [start, start + bytes];
    });
  }

  /** Never 0, which unused slots may hold. */
  #byte(chat: number, position: number, part: number): number {
    const view = this.pages.sequence(chat);
    let hash = part;
    for (let i = 0; i <= position; i++) hash = (Math.imul(hash, 31) + view.token(i) + 7) | 0;
    return 1 + ((hash >>> 3) % 255);
  }
}

/** All bytes of a stream. */
export async function bytesOf(stream: ReadableStream<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
