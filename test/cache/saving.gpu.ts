import { PagedKvCache } from '../../src/cache/pagedKvCache.js';
import {
  attnWithKvCache,
  createRuntime,
  PageManager,
  type FloatDType,
  type Runtime,
  type SequenceId,
} from '../../src/index.js';
import { downloadBuffer, upload } from '../../tools/deviceTensor.js';
import { Random } from '../../tools/random.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';

const SHAPE = { nLayers: 2, nKvHeads: 2, headDim: 20, headDimV: 12, pageSize: 5, nPages: 16 };
const N_HEADS = 4;
const FINGERPRINT = 'random weights';

/** New tokens of a step: always as many, so that one kernel computes all of them. */
const N_NEW = 4;
const N_STEPS = 7;

/** A cache whose slots hold NaN until they are written, and attention over it, step by step. */
class Lab {
  readonly runtime: Runtime;
  readonly cache: PagedKvCache;
  readonly pages: PageManager;
  readonly #dtype: FloatDType;

  static async create(device: GPUDevice, dtype: FloatDType): Promise<Lab> {
    const runtime = createRuntime(device);
    const cache = await PagedKvCache.create(runtime, { ...SHAPE, dtype });
    for (const buffer of cache.buffers)
      device.queue.writeBuffer(buffer, 0, new Uint32Array(buffer.size / 4).fill(0xffffffff));
    return new Lab(runtime, cache, dtype);
  }

  private constructor(runtime: Runtime, cache: PagedKvCache, dtype: FloatDType) {
    this.runtime = runtime;
    this.cache = cache;
    this.pages = new PageManager(cache);
    this.#dtype = dtype;
  }

  /** Appends the tokens of a step and computes all that are not. Returns the bits of all layers' attention. */
  async step(chat: SequenceId, seed: number): Promise<Uint32Array[]> {
    const { pages, cache, runtime } = this;
    const random = new Random(seed);
    pages.append(
      chat,
      Array.from({ length: N_NEW }, () => random.int(0, 1000)),
    );
    const copies = pages.reserve(chat);
    assert(copies !== 'full', 'the pool is full');
    cache.copyPages(copies);
    const batch = pages.batch([chat]);
    assertEqual(batch.nNewTokens, N_NEW, 'new tokens');
    const draw = (heads: number, dim: number) =>
      upload(runtime.device, this.#dtype, [N_NEW, heads, dim], random.normals(N_NEW * heads * dim));
    const outs = Array.from({ length: SHAPE.nLayers }, (_, i) => {
      const q = draw(N_HEADS, SHAPE.headDim);
      const k = draw(SHAPE.nKvHeads, SHAPE.headDim);
      const v = draw(SHAPE.nKvHeads, SHAPE.headDimV);
      const { out } = attnWithKvCache(runtime, {
        q,
        k,
        v,
        ...cache.layer(i),
        ...batch,
        causal: true,
        numSplits: 1,
      });
      return out;
    });
    pages.commit(chat);
    const bits: Uint32Array[] = [];
    for (const { buffer } of outs) bits.push(new Uint32Array(await downloadBuffer(runtime.device, buffer)));
    return bits;
  }

  /** A chat of which all tokens are computed, as far as the manager knows. */
  computed(tokens: readonly number[]): SequenceId {
    const chat = this.pages.add(tokens);
    assert(this.pages.reserve(chat) !== 'full', 'the pool is full');
    this.pages.commit(chat);
    return chat;
  }

  async save(chat: SequenceId): Promise<Uint8Array<ArrayBuffer>> {
    return bytesOf(this.open(chat));
  }

  open(chat: SequenceId): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.cache.save({ pages: this.pages, sequence: chat, fingerprint: FINGERPRINT });
  }

  async restore(source: Blob | ReadableStream<Uint8Array>): Promise<SequenceId> {
    const saved = await this.cache.readSaved({ source, fingerprint: FINGERPRINT });
    const chat = await this.cache.restore({ pages: this.pages, saved });
    assert(chat !== 'full', 'the pool is full');
    return chat;
  }

  destroy(): void {
    this.cache.destroy();
    this.runtime.destroy();
  }
}

async function bytesOf(stream: ReadableStream<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function assertSameBits(
  actual: readonly Uint32Array[],
  expected: readonly Uint32Array[],
  what: string,
): void {
  expected.forEach((bits, layer) => assertEqual(actual[layer]!, bits, `${what}, layer ${layer}`));
}

export const cases: GpuCase[] = [
  ...(['f32', 'f16', 'bf16'] as const).map((dtype): GpuCase => ({
    name: `a sequence of ${dtype} goes on with the same bits on another device, in another cache`,
    run: async (t) => {
      const there = await Lab.create(await t.device('full'), dtype);
      const here = await Lab.create(await t.ownDevice('full'), dtype);
      const chat = there.pages.add([]);
      for (const seed of [0, 1, 2, 3]) await there.step(chat, seed);
      const bytes = await there.save(chat);

      // So that its pages lie elsewhere.
      const other = here.pages.add([]);
      await here.step(other, 6);
      const again = await here.restore(new Blob([bytes]));
      assertEqual(await here.save(again), bytes, 'bytes that are saved again');
      for (let seed = 4; seed < N_STEPS; seed++)
        assertSameBits(await here.step(again, seed), await there.step(chat, seed), `step ${seed}`);
      assertEqual(await here.save(again), await there.save(chat), 'bytes at the end');
      there.destroy();
      here.destroy();
    },
  })),
  {
    name: 'a stream has what was there when it was opened, while steps go on',
    run: async (t) => {
      const there = await Lab.create(await t.device('full'), 'f16');
      const here = await Lab.create(await t.device('full'), 'f16');
      const chat = there.pages.add([]);
      for (const seed of [0, 1]) await there.step(chat, seed);
      const bytes = await there.save(chat);
      const [one, two] = there.open(chat).tee();
      const undisturbed: Uint32Array[][] = [];
      for (const seed of [2, 3]) undisturbed.push(await there.step(chat, seed));
      const restoring = here.restore(one);
      assertEqual(await bytesOf(two), bytes, 'bytes of the stream');
      const again = await restoring;
      for (const seed of [2, 3])
        assertSameBits(await here.step(again, seed), undisturbed[seed - 2]!, `step ${seed}`);
      for (const { pages } of [there, here]) {
        for (const { id } of pages.snapshot().sequences) pages.release(id);
        assertEqual(pages.nFreePages, SHAPE.nPages, 'free pages');
      }
      there.destroy();
      here.destroy();
    },
  },
  {
    name: 'a device that is lost while pages are read or written leaves nothing held',
    run: async (t) => {
      const device = await t.ownDevice();
      const lab = await Lab.create(device, 'f16');
      const chat = lab.computed([1, 2, 3, 4, 5, 6, 7]);
      const bytes = await lab.save(chat);
      lab.pages.release(chat);
      lab.pages.reset();
      const saved = await lab.cache.readSaved({ source: new Blob([bytes]), fingerprint: FINGERPRINT });
      const next = lab.computed([8, 9]);
      const saving = lab.save(next).then(
        () => 'saved',
        () => 'refused',
      );
      const restoring = lab.cache.restore({ pages: lab.pages, saved }).then(
        () => 'restored',
        () => 'refused',
      );
      device.destroy();
      assertEqual(await saving, 'refused', 'the stream');
      assertEqual(await restoring, 'refused', 'the restored one');
      lab.pages.release(next);
      assertEqual(lab.pages.nFreePages, SHAPE.nPages, 'free pages');
      assertEqual(lab.pages.snapshot().sequences.length, 0, 'sequences');
      lab.destroy();
    },
  },
];
