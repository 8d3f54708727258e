import { elementCount } from '../../src/core/tensor.js';
import { createRuntime, type Runtime, type Tensor } from '../../src/index.js';
import { BlockAllocator } from '../../src/paging/blockAllocator.js';
import { CachedLlama, type CachedLlamaArgs, type StepSequences } from './cachedLlama.js';
import { upload } from '../../tools/deviceTensor.js';
import { assert, assertEqual, type GpuCase, type GpuTest } from '../platforms/gpuCase.js';
import { Random } from '../../tools/random.js';
import { TinyLlama } from './tinyLlama.js';
import { tinyLlamaReference } from './tinyLlamaReference.js';
import { drawLlama, TINY_LLAMA, type LlamaWeights } from './tinyLlamaWeights.js';
import { checkOut } from '../reference/tolerance.js';

const { nLayers, nKvHeads, headDim, vocabSize } = TINY_LLAMA;

/** A prompt in chunks, then one token at a time. */
const STEPS = [40, 40, 20, ...Array.from({ length: 200 }, () => 1)];
const N_TOKENS = STEPS.reduce((sum, n) => sum + n);

/** Fixed, since what would be chosen need not be the same for pages and rows. */
const NUM_SPLITS = 2;

/** Where the keys and values of one sequence are. */
interface Cache {
  readonly layers: CachedLlamaArgs['layers'];
  /** Make room for the tokens of the next step, and tell where they go. */
  grow(nTokens: number): Pick<StepSequences, 'cacheSeqlens' | 'blockTable'>;
}

type CacheDType = 'f32' | 'f16';

function makeRows(device: GPUDevice): Cache {
  let nCached = 0;
  return {
    layers: makeLayers(device, 'f32', [1, N_TOKENS]),
    grow(nTokens) {
      nCached += nTokens;
      return { cacheSeqlens: [nCached - nTokens] };
    },
  };
}

/** Pages in random order, between those of another sequence. */
function makePages(device: GPUDevice, pageSize: number, dtype: CacheDType = 'f32'): Cache {
  const nPages = 2 * Math.ceil(N_TOKENS / pageSize);
  const allocator = new BlockAllocator({ nPages, pageSize });
  shufflePages(allocator);
  const sequence = allocator.create();
  const neighbour = allocator.create();
  return {
    layers: makeLayers(device, dtype, [nPages, pageSize]),
    grow(nTokens) {
      for (const id of [sequence, neighbour]) assertEqual(allocator.append(id, nTokens), [], 'copies');
      return allocator.batch([sequence], [nTokens]);
    },
  };
}

/** Have every page taken once, and given back in random order. */
function shufflePages(allocator: BlockAllocator): void {
  const { nPages, pageSize } = allocator;
  const sequences = Array.from({ length: nPages }, () => allocator.create());
  for (const sequence of sequences) allocator.append(sequence, pageSize);
  for (const i of new Random(pageSize).permutation(nPages)) allocator.release(sequences[i]!);
}

/** Slots hold NaN until they are written. */
function makeLayers(device: GPUDevice, dtype: CacheDType, size: readonly [number, number]): Cache['layers'] {
  const shape = [...size, nKvHeads, headDim];
  const nothing = new Float32Array(elementCount(shape)).fill(NaN);
  const tensor = (): Tensor => upload(device, dtype, shape, nothing);
  return Array.from({ length: nLayers }, () => ({ kCache: tensor(), vCache: tensor() }));
}

/** A model that goes on with one sequence, step by step. */
class Generation {
  readonly #cache: Cache;
  readonly #llama: CachedLlama;

  constructor({ runtime, model }: Lab, cache: Cache) {
    this.#cache = cache;
    this.#llama = new CachedLlama({ runtime, model, layers: cache.layers, numSplits: NUM_SPLITS });
  }

  step(tokens: ArrayLike<number>): void {
    const { cacheSeqlens, blockTable } = this.#cache.grow(tokens.length);
    this.#llama.step(tokens, { cuSeqlensQ: [0, tokens.length], cacheSeqlens, blockTable });
  }

  destroy(): void {
    this.#llama.destroy();
    for (const { kCache, vCache } of this.#cache.layers) {
      kCache.buffer.destroy();
      vCache.buffer.destroy();
    }
  }
}

interface Lab {
  readonly runtime: Runtime;
  readonly weights: LlamaWeights;
  readonly model: TinyLlama;
  readonly tokens: Int32Array;
}

async function inLab(t: GpuTest, use: (lab: Lab) => Promise<void>): Promise<void> {
  const device = await t.device('full');
  const runtime = createRuntime(device);
  const weights = drawLlama(TINY_LLAMA, { nPositions: N_TOKENS, seed: 1 });
  const model = new TinyLlama(device, weights, { maxTokens: 100, maxStates: N_TOKENS });
  const random = new Random(2);
  const tokens = Int32Array.from({ length: N_TOKENS }, () => random.int(0, vocabSize));
  try {
    await use({ runtime, weights, model, tokens });
  } finally {
    model.destroy();
    runtime.destroy();
  }
}

/** What is behind the last layer for each token, computed in steps over a cache. */
async function statesBySteps(lab: Lab, cache: Cache): Promise<Float32Array<ArrayBuffer>> {
  const generation = new Generation(lab, cache);
  let start = 0;
  for (const nTokens of STEPS) {
    generation.step(lab.tokens.subarray(start, start + nTokens));
    start += nTokens;
  }
  const states = await lab.model.takeStates();
  generation.destroy();
  return states;
}

function bitsOf({ buffer, byteOffset, length }: Float32Array<ArrayBuffer>): Uint32Array {
  return new Uint32Array(buffer, byteOffset, length);
}

/** The most likely token by a row of logits. A near tie would leave it to rounding which one that is. */
function pick(logits: Float32Array | Float64Array, row: number): number {
  const [first, second] = Array.from(logits.subarray(row * vocabSize, (row + 1) * vocabSize))
    .map((logit, token) => ({ logit, token }))
    .toSorted((a, b) => b.logit - a.logit);
  const lead = first!.logit - second!.logit;
  assert(lead > 1e-3, `the seed gives two tokens that are ${lead} apart`);
  return first!.token;
}

export const cases: GpuCase[] = [
  {
    name: 'a prompt in chunks, then 200 tokens one by one, equal one dense prefill, in pages of any size',
    run: (t) =>
      inLab(t, async (lab) => {
        const { runtime, weights, tokens } = lab;
        const rows = await statesBySteps(lab, makeRows(runtime.device));
        // What a single call is allowed: two layers of f32 add a tenth of it to the residuals.
        const reference = tinyLlamaReference(weights, tokens).states;
        checkOut({ actual: rows, reference, dtype: 'f32' });
        for (const pageSize of [1, 3, 16, 64]) {
          const pages = await statesBySteps(lab, makePages(runtime.device, pageSize));
          assertEqual(bitsOf(pages), bitsOf(rows), `states with pages of ${pageSize}`);
        }
      }),
  },
  {
    name: 'a cache in f16 costs what rounding keys and values to f16 costs',
    run: (t) =>
      inLab(t, async (lab) => {
        const { runtime, weights, tokens } = lab;
        const actual = await statesBySteps(lab, makePages(runtime.device, 16, 'f16'));
        const reference = tinyLlamaReference(weights, tokens).states;
        const emulated = tinyLlamaReference(weights, tokens, 'f16').states;
        checkOut({ actual, reference, emulated, dtype: 'f16', kvCache: true });
      }),
  },
  {
    name: 'tokens picked one by one are those that would be picked without a cache',
    run: (t) =>
      inLab(t, async (lab) => {
        const prompt = lab.tokens.subarray(0, 70);
        const generation = new Generation(lab, makePages(lab.runtime.device, 3));
        const next = async (row: number): Promise<number> => pick(await lab.model.logits(), row);
        generation.step(prompt);
        const tokens = [...prompt, await next(prompt.length - 1)];
        while (tokens.length < 100) {
          generation.step(tokens.slice(-1));
          tokens.push(await next(0));
        }
        generation.destroy();

        // If each token is the one that follows from those before, then so are all of them.
        const { logits } = tinyLlamaReference(lab.weights, tokens.slice(0, -1));
        const picked = tokens.slice(prompt.length);
        const want = picked.map((_, i) => pick(logits, prompt.length - 1 + i));
        assertEqual(picked, want, 'tokens');
        assert(new Set(picked).size > 10, 'what is picked hardly depends on what came before');
      }),
  },
];
