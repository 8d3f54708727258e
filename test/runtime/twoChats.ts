import { PagedKvCache } from '../../src/cache/pagedKvCache.js';
import {
  attnWithKvCache,
  createRuntime,
  PageManager,
  type AttentionResult,
  type Runtime,
} from '../../src/index.js';
import { downloadBuffer, upload } from '../../tools/deviceTensor.js';
import { assert, assertEqual } from '../platforms/gpuCase.js';
import { Random } from '../../tools/random.js';

const CACHE = { nLayers: 2, nKvHeads: 1, headDim: 32, dtype: 'f32', pageSize: 4, nPages: 8 } as const;
const { headDim, nPages, pageSize } = CACHE;

/** The most tokens of a step: so few that the kernel is the same as for one token. */
const MAX_TOKENS = 4;

const HERE = tokensOf(10, 1);
const AWAY = tokensOf(13, 2);

/** Two chats: when the device is lost, one of them is in host memory, and the other is computed again. */
export class TwoChats {
  readonly #pages = new PageManager({ nPages, pageSize, nHostPages: 8 });
  readonly #here = this.#pages.add(HERE);
  readonly #away = this.#pages.add(AWAY);
  /** The contents of host memory by host page, and the cache that keeps them. */
  readonly #contents = new Map<number, Uint8Array>();
  #lost: PagedKvCache | undefined;
  /** The last output of the chat that is not in host memory. */
  #bits = new Uint32Array();

  /** What happens until the device is lost. */
  async begin(device: GPUDevice): Promise<void> {
    const engine = await Engine.start(device);
    this.#bits = await engine.bits(engine.compute(this.#pages, this.#here));
    engine.compute(this.#pages, this.#away);
    const copies = this.#pages.swapOut(this.#away);
    assert(copies !== 'full' && copies.length === 4, 'the host has no room');
    const contents = await engine.cache.readPages(copies.map(([page]) => page));
    copies.forEach(([, hostPage], i) => this.#contents.set(hostPage, contents[i]!));
    await engine.cache.movePages({ swapsOut: copies, copies: [], swapsIn: [] });
    this.#lost = engine.cache;
  }

  /** On a new device: what was in host memory comes back bit for bit, and both chats go on as if nothing had happened. */
  async goOn(device: GPUDevice): Promise<void> {
    this.#pages.reset({ keepSwapped: true });
    const engine = await Engine.start(device, this.#lost);
    this.#lost?.destroy();
    await this.#bringBack(engine);
    assertEqual(
      this.#pages.sequence(this.#away).nComputed,
      AWAY.length,
      'tokens that need not be computed again',
    );
    assertEqual(this.#pages.nToCompute(this.#here), HERE.length, 'tokens to be computed again');
    assertEqual(
      await engine.bits(engine.compute(this.#pages, this.#here)),
      this.#bits,
      'what is computed again',
    );

    const twins = new PageManager({ nPages, pageSize });
    const unharmed = await Engine.start(device);
    for (const [chat, tokens] of [
      [this.#here, HERE],
      [this.#away, AWAY],
    ] as const) {
      const twin = twins.add(tokens);
      unharmed.compute(twins, twin);
      twins.append(twin, [7]);
      this.#pages.append(chat, [7]);
      const want = await unharmed.bits(unharmed.compute(twins, twin));
      assertEqual(await engine.bits(engine.compute(this.#pages, chat)), want, 'the next token');
    }
  }

  async #bringBack({ cache }: Engine): Promise<void> {
    const copies = this.#pages.swapIn(this.#away);
    assert(copies !== 'full' && copies.length === 4, 'the pages did not come back');
    const pages = copies.map(([, page]) => page);
    await cache.movePages({ swapsOut: [], copies: [], swapsIn: copies });
    const back = await cache.readPages(pages);
    copies.forEach(([hostPage], i) => assertEqual(back[i]!, this.#contents.get(hostPage)!, `page ${i}`));
  }
}

function tokensOf(n: number, seed: number): number[] {
  const random = new Random(seed);
  return Array.from({ length: n }, () => random.int(0, 50));
}

/** One layer, with queries, keys and values that are drawn at random from the token and its position. */
class Engine {
  readonly cache: PagedKvCache;
  readonly #runtime: Runtime;

  static async start(device: GPUDevice, lost?: PagedKvCache): Promise<Engine> {
    const runtime = createRuntime(device);
    return new Engine(runtime, await PagedKvCache.create(runtime, { ...CACHE, hostPagesOf: lost }));
  }

  private constructor(runtime: Runtime, cache: PagedKvCache) {
    this.#runtime = runtime;
    this.cache = cache;
  }

  /** Computes all tokens that are not computed yet, in steps, and returns the result of the last step. */
  compute(pages: PageManager, sequence: number): AttentionResult {
    let result = this.#step(pages, sequence);
    while (pages.nToCompute(sequence) > 0) result = this.#step(pages, sequence);
    return result;
  }

  async bits({ out }: AttentionResult): Promise<Uint32Array<ArrayBuffer>> {
    return new Uint32Array(await downloadBuffer(this.#runtime.device, out.buffer));
  }

  #step(pages: PageManager, sequence: number): AttentionResult {
    const copies = pages.reserve(sequence, MAX_TOKENS);
    assert(copies !== 'full', 'the pool is full');
    this.cache.copyPages(copies);
    const { nComputed, nInFlight } = pages.sequence(sequence);
    const { cacheSeqlens, blockTable } = pages.batch([sequence]);
    const tokens = Array.from({ length: nInFlight }, (_, i) => {
      const position = nComputed + i;
      return new Random(1000 * position + pages.sequence(sequence).token(position)).normals(6 * headDim);
    });
    const tensor = (first: number, nHeads: number) =>
      upload(
        this.#runtime.device,
        'f32',
        [1, nInFlight, nHeads, headDim],
        tokens.flatMap((numbers) => [...numbers.subarray(headDim * first, headDim * (first + nHeads))]),
      );
    const result = attnWithKvCache(this.#runtime, {
      q: tensor(0, 4),
      k: tensor(4, 1),
      v: tensor(5, 1),
      ...this.cache.layer(1),
      cacheSeqlens,
      blockTable,
      causal: true,
      numSplits: 1,
    });
    pages.commit(sequence);
    return result;
  }
}
