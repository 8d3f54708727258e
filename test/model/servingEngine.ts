import { PagedKvCache } from '../../src/cache/pagedKvCache.js';
import type { Runtime } from '../../src/index.js';
import { PageManager } from '../../src/paging/pageManager.js';
import type { Step } from '../../src/paging/planner/step.js';
import { StepPlanner } from '../../src/paging/planner/stepPlanner.js';
import { CachedLlama } from './cachedLlama.js';
import { assert } from '../platforms/gpuCase.js';
import { Random } from '../../tools/random.js';
import { ServingUsers } from './servingUsers.js';
import type { TinyLlama } from './tinyLlama.js';
import { TINY_LLAMA } from './tinyLlamaWeights.js';

const { vocabSize, nLayers } = TINY_LLAMA;

/** The most tokens of a step. */
export const MAX_TOKENS = 64;

/** Room for about three sequences, where ten may be in a step; and the host has not room for all that gives way. */
export const POOL = { nPages: 24, pageSize: 4, nHostPages: 20 };

/** With splits chosen for the batch, neighbours would have a say in the last bits. */
export const NUM_SPLITS = 1;

export type Preempt = 'recompute' | 'swap';

export interface Lab {
  readonly runtime: Runtime;
  readonly model: TinyLlama;
}

/** Hears of a step whose pages are in place, before it is computed. */
type OnStep = (step: Step, tokensOf: (sequence: number) => readonly number[]) => void;

/** An engine that runs what the planner plans, on the pages that it names. */
export class ServingEngine {
  readonly pages = new PageManager(POOL);
  readonly planner: StepPlanner;
  readonly users: ServingUsers;
  readonly nTimes = { evicted: 0, copied: 0, swappedOut: 0, swappedIn: 0 };
  readonly #model: TinyLlama;
  readonly #cache: PagedKvCache;
  readonly #llama: CachedLlama;

  constructor({ runtime, model }: Lab, cache: PagedKvCache, preempt: Preempt) {
    const { pages } = this;
    this.planner = new StepPlanner({ pages, maxTokens: MAX_TOKENS, maxSequences: 10, preempt });
    this.users = new ServingUsers({ pages, planner: this.planner, random: new Random(7), vocabSize });
    this.#model = model;
    this.#cache = cache;
    this.#llama = new CachedLlama({ runtime, model, layers: layersOf(cache), numSplits: NUM_SPLITS });
  }

  async step(onStep: OnStep): Promise<void> {
    const step = this.#plan();
    assert(step !== 'full', 'no sequence fits into the pool, not even alone');
    if (step === 'idle') return;
    const moved = this.#cache.movePages(step);
    this.nTimes.copied += step.copies.length;
    this.nTimes.swappedOut += step.swapsOut.length;
    this.nTimes.swappedIn += step.swapsIn.length;
    if (step.swapsIn.length > 0) await moved;
    onStep(step, (sequence) => this.users.tokensOf(sequence));
    this.#llama.step(step.tokens, step);
    const logits = await this.#model.logits();
    await moved;
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
}

function mostLikely(logits: Float32Array): number {
  return logits.indexOf(Math.max(...logits));
}

/** Slots hold NaN until they are written. */
export async function makeCache(
  runtime: Runtime,
  { nPages, pageSize }: { readonly nPages: number; readonly pageSize: number },
): Promise<PagedKvCache> {
  const cache = await PagedKvCache.create(runtime, { ...TINY_LLAMA, dtype: 'f32', nPages, pageSize });
  for (const buffer of cache.buffers)
    runtime.device.queue.writeBuffer(buffer, 0, new Float32Array(buffer.size / 4).fill(NaN));
  return cache;
}

export function layersOf(cache: PagedKvCache): ReturnType<PagedKvCache['layer']>[] {
  return Array.from({ length: nLayers }, (_, i) => cache.layer(i));
}
