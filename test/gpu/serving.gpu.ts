import { PagedKvCache } from '../../src/api/pagedKvCache.js';
import { createRuntime, type Runtime } from '../../src/index.js';
import { PageManager } from '../../src/paging/pageManager.js';
import type { Step } from '../../src/paging/step.js';
import { StepPlanner } from '../../src/paging/stepPlanner.js';
import { CachedLlama } from '../support/cachedLlama.js';
import { assert, assertEqual, type GpuCase, type GpuTest } from '../support/gpuCase.js';
import { Random } from '../support/random.js';
import { ServedChunks, type Chunk } from '../support/servedChunks.js';
import { ServingUsers } from '../support/servingUsers.js';
import { TinyLlama } from '../support/tinyLlama.js';
import { tinyLlamaReference } from '../support/tinyLlamaReference.js';
import { drawLlama, TINY_LLAMA } from '../support/tinyLlamaWeights.js';
import { checkOut } from '../support/tolerance.js';

const { vocabSize, hiddenSize, nLayers } = TINY_LLAMA;
const N_QUESTIONS = 32;
const N_POSITIONS = 128;
const MAX_TOKENS = 64;

/** Room for about three sequences, where ten may be in a step; and the host has not room for all that gives way. */
const POOL = { nPages: 24, pageSize: 4, nHostPages: 20 };

/** With splits chosen for the batch, neighbours would have a say in the last bits. */
const NUM_SPLITS = 1;

type Preempt = 'recompute' | 'swap';

interface Lab {
  readonly runtime: Runtime;
  readonly model: TinyLlama;
}

/** An engine that runs what the planner plans, on the pages that it names. */
class Engine {
  readonly pages = new PageManager(POOL);
  readonly planner: StepPlanner;
  readonly users: ServingUsers;
  readonly chunks = new ServedChunks(POOL.pageSize);
  readonly nTimes = { evicted: 0, copied: 0, swappedOut: 0, swappedIn: 0 };
  readonly #model: TinyLlama;
  readonly #cache: PagedKvCache;
  readonly #llama: CachedLlama;
  readonly #hostPages = new Map<number, Uint8Array>();

  constructor({ runtime, model }: Lab, cache: PagedKvCache, preempt: Preempt) {
    const { pages } = this;
    this.planner = new StepPlanner({ pages, maxTokens: MAX_TOKENS, maxSequences: 10, preempt });
    this.users = new ServingUsers({ pages, planner: this.planner, random: new Random(7), vocabSize });
    this.#model = model;
    this.#cache = cache;
    this.#llama = new CachedLlama({ runtime, model, layers: layersOf(cache), numSplits: NUM_SPLITS });
  }

  async step(): Promise<void> {
    const step = this.#plan();
    assert(step !== 'full', 'no sequence fits into the pool, not even alone');
    if (step === 'idle') return;
    await this.#copyPages(step);
    this.chunks.record(step, (sequence) => this.users.tokensOf(sequence));
    this.#llama.step(step.tokens, step);
    const logits = await this.#model.logits();
    this.users.answer(step, (row) => mostLikely(logits.subarray(row * vocabSize, (row + 1) * vocabSize)));
  }

  destroy(): void {
    this.#llama.destroy();
  }

  #plan(): Step | 'idle' | 'full' {
    const { pages, users } = this;
    const started = users.sequences.filter((sequence) => pages.sequence(sequence).nComputed > 0);
    const step = this.planner.plan();
    this.nTimes.evicted += started.filter((sequence) => pages.sequence(sequence).nComputed === 0).length;
    return step;
  }

  async #copyPages({ swapsOut, copies, swapsIn }: Step): Promise<void> {
    const contents = await this.#cache.readPages(swapsOut.map(([page]) => page));
    swapsOut.forEach(([, hostPage], i) => this.#hostPages.set(hostPage, contents[i]!));
    this.#cache.copyPages(copies);
    this.#cache.writePages(
      swapsIn.map(([, page]) => page),
      swapsIn.map(([hostPage]) => this.#hostPages.get(hostPage)!),
    );
    this.nTimes.copied += copies.length;
    this.nTimes.swappedOut += swapsOut.length;
    this.nTimes.swappedIn += swapsIn.length;
  }
}

function mostLikely(logits: Float32Array): number {
  return logits.indexOf(Math.max(...logits));
}

/** Slots hold NaN until somebody writes to them. */
async function makeCache(
  runtime: Runtime,
  size: { readonly nPages: number; readonly pageSize: number },
): Promise<PagedKvCache> {
  const cache = await PagedKvCache.create(runtime, { ...TINY_LLAMA, dtype: 'f32', ...size });
  for (const buffer of cache.buffers)
    runtime.device.queue.writeBuffer(buffer, 0, new Float32Array(buffer.size / 4).fill(NaN));
  return cache;
}

function layersOf(cache: PagedKvCache): ReturnType<PagedKvCache['layer']>[] {
  return Array.from({ length: nLayers }, (_, i) => cache.layer(i));
}

/**
 * Answer all questions. Two users begin with the same one: both compute it, and go on with the pages of one of them. The
 * others come later, one a step, and find what all of them begin with.
 */
async function serve(lab: Lab, preempt: Preempt): Promise<Engine> {
  const cache = await makeCache(lab.runtime, POOL);
  const engine = new Engine(lab, cache, preempt);
  const { users } = engine;
  users.ask(2);
  for (let nAsked = 2; nAsked < N_QUESTIONS || users.sequences.length > 0; nAsked++) {
    await engine.step();
    if (nAsked < N_QUESTIONS) users.ask(1);
  }
  engine.destroy();
  cache.destroy();
  return engine;
}

/**
 * Compute each chunk again after those that it came after, and with nobody else: in a step of its own, in a cache of one
 * page. Returns the chunks in the order in which that was done.
 */
async function computeAlone({ runtime, model }: Lab, chunks: readonly Chunk[]): Promise<Chunk[]> {
  const cache = await makeCache(runtime, { nPages: 1, pageSize: N_POSITIONS });
  const llama = new CachedLlama({ runtime, model, layers: layersOf(cache), numSplits: NUM_SPLITS });
  const order: Chunk[] = [];
  const compute = (chunk: Chunk): void => {
    const { tokens, start, children } = chunk;
    llama.step(tokens, { cuSeqlensQ: [0, tokens.length], cacheSeqlens: [start], blockTable: [0] });
    order.push(chunk);
    // The last comes first, as each writes over all that does not come before it.
    for (const child of children.toSorted((a, b) => b.start - a.start)) compute(child);
  };
  for (const chunk of chunks) if (!chunk.parent) compute(chunk);
  llama.destroy();
  cache.destroy();
  return order;
}

/** Same bits where the same chunks were seen, which is so for most; otherwise the sums were made in another order. */
function compare(order: readonly Chunk[], served: Float32Array, alone: Float32Array): void {
  let row = 0;
  for (const { sequence, start, tokens, row: servedRow, isOwn } of order) {
    const actual = rowsOf(served, servedRow, tokens.length);
    const reference = rowsOf(alone, row, tokens.length);
    if (isOwn) assertEqual(actual, reference, `sequence ${sequence}, tokens from ${start} on`);
    else checkOut({ actual, reference, dtype: 'f32' });
    row += tokens.length;
  }
  const nOwn = order.filter(({ isOwn }) => isOwn).length;
  assert(nOwn > 0.9 * order.length, `only ${nOwn} of ${order.length} chunks saw what they would see alone`);
}

/** The longest sequence, as it was served, is what the reference makes of its tokens. */
function compareLongest({ model }: Lab, chunks: readonly Chunk[], served: Float32Array): void {
  const [longest] = chunks.toSorted((a, b) => b.start - a.start);
  const tokens: number[] = [];
  const states: number[] = [];
  for (const { start, tokens: next, row } of lineOf(longest!)) {
    tokens.splice(start, Infinity, ...next);
    states.splice(start * hiddenSize, Infinity, ...rowsOf(served, row, next.length));
  }
  const reference = tinyLlamaReference(model.weights, tokens).states;
  checkOut({ actual: states, reference, dtype: 'f32' });
}

/** A chunk and those that it came after, the first one first. */
function lineOf(chunk: Chunk): Chunk[] {
  return chunk.parent ? [...lineOf(chunk.parent), chunk] : [chunk];
}

function rowsOf(states: Float32Array, row: number, nRows: number): Float32Array {
  return states.subarray(row * hiddenSize, (row + nRows) * hiddenSize);
}

async function inLab(t: GpuTest, use: (lab: Lab) => Promise<void>): Promise<void> {
  const device = await t.device('full');
  const runtime = createRuntime(device);
  const weights = drawLlama(TINY_LLAMA, { nPositions: N_POSITIONS, seed: 1 });
  const model = new TinyLlama(device, weights, { maxTokens: MAX_TOKENS, maxStates: 4096 });
  try {
    await use({ runtime, model });
  } finally {
    model.destroy();
    runtime.destroy();
  }
}

export const cases: GpuCase[] = (['recompute', 'swap'] as const).map((preempt) => ({
  name: `32 sequences with forks, drafts and truncations, in a pool that is too small (${preempt}), each as if alone`,
  run: (t) =>
    inLab(t, async (lab) => {
      const { chunks, users, nTimes, pages } = await serve(lab, preempt);
      const served = await lab.model.takeStates();
      const order = await computeAlone(lab, chunks.all);
      assertEqual(order.length, chunks.all.length, 'chunks');
      compare(order, served, await lab.model.takeStates());
      compareLongest(lab, chunks.all, served);

      const { swappedOut, swappedIn, ...events } = { ...users.nTimes, ...nTimes };
      const swaps = preempt === 'swap' ? { swappedOut, swappedIn } : {};
      for (const [event, n] of Object.entries({ ...events, ...swaps })) assert(n > 0, `nothing was ${event}`);
      const { hitPercent, nUsed, nHostUsed } = pages.usage();
      assert(hitPercent > 50, `only ${hitPercent} % of the prompts were found in the cache`);
      assertEqual([nUsed, nHostUsed], [0, 0], 'pages in use after all, here and on the host');
    }),
}));
