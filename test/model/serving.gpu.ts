import { createRuntime } from '../../src/index.js';
import { CachedLlama } from './cachedLlama.js';
import { assert, assertEqual, type GpuCase, type GpuTest } from '../platforms/gpuCase.js';
import { ServedChunks, type Chunk } from './servedChunks.js';
import {
  layersOf,
  makeCache,
  MAX_TOKENS,
  NUM_SPLITS,
  POOL,
  ServingEngine,
  type Lab,
  type Preempt,
} from './servingEngine.js';
import { TinyLlama } from './tinyLlama.js';
import { tinyLlamaReference } from './tinyLlamaReference.js';
import { drawLlama, TINY_LLAMA } from './tinyLlamaWeights.js';
import { checkOut } from '../reference/tolerance.js';

const { hiddenSize } = TINY_LLAMA;
const N_QUESTIONS = 32;
const N_POSITIONS = 128;

/**
 * Answer all questions. Two users begin with the same one: both compute it, and go on with the pages of one of them. The
 * others come later, one a step, and find what all of them begin with.
 */
async function serve(
  lab: Lab,
  preempt: Preempt,
): Promise<{ readonly engine: ServingEngine; readonly chunks: ServedChunks }> {
  const cache = await makeCache(lab.runtime, POOL);
  const engine = new ServingEngine(lab, cache, preempt);
  const chunks = new ServedChunks(POOL.pageSize);
  const { users } = engine;
  users.ask(2);
  for (let nAsked = 2; nAsked < N_QUESTIONS || users.sequences.length > 0; nAsked++) {
    await engine.step((step, tokensOf) => chunks.record(step, tokensOf));
    if (nAsked < N_QUESTIONS) users.ask(1);
  }
  engine.destroy();
  cache.destroy();
  return { engine, chunks };
}

/**
 * Compute each chunk again after those that it came after, and alone: in a step of its own, in a cache of one
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
      const { engine, chunks } = await serve(lab, preempt);
      const { users, nTimes, pages } = engine;
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
