import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { PageManager } from '../../src/paging/pageManager.js';
import { StepPlanner } from '../../src/paging/planner/stepPlanner.js';
import { Random } from '../../tools/random.js';
import { tokensOf } from './pagingOperations.js';
import { PAGE_SIZE } from './shapes.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Bytes of host memory per page of a new pool, including the tokens kept for comparing prefixes. */
export function bytesPerPage(nPages: number): number {
  const before = usedBytes();
  const manager = new PageManager({ nPages, pageSize: PAGE_SIZE });
  const bytes = usedBytes() - before;
  if (manager.nPages !== nPages) throw new Error('The manager was collected while it was measured.');
  return bytes / nPages;
}

export interface SteadyState {
  /** Bytes of garbage per step: how much the heap grows between collections, less what it grows when idle. */
  readonly garbageBytes: number;
  /** Time of a step. */
  readonly microseconds: number;
}

/** Measures steps of a planner in which all sequences decode and nothing else happens. */
export function steadyState(nSequences: number): SteadyState {
  const pages = new PageManager({ nPages: N_PAGES, pageSize: PAGE_SIZE });
  const planner = new StepPlanner({ pages, maxTokens: 1 << 20, maxSequences: nSequences });
  for (let i = 0; i < nSequences; i++) planner.add({ tokens: tokensOf(i, N_TOKENS) });
  const samples = new Int32Array(nSequences).fill(1);
  const run = (nSteps: number) => {
    for (let i = 0; i < nSteps; i++) {
      if (typeof planner.plan() === 'string') throw new Error('The planner has no step.');
      planner.commit(samples);
    }
  };
  // As many steps as the pool has tokens for.
  const nSteps = Math.floor((0.9 * N_PAGES * PAGE_SIZE) / nSequences) - N_TOKENS;
  run(0.2 * nSteps);
  const idle = heapGrowth(() => undefined);
  const start = performance.now();
  const busy = heapGrowth(() => run(0.8 * nSteps));
  const microseconds = ((performance.now() - start) * 1000) / (0.8 * nSteps);
  return { garbageBytes: Math.max(0, busy - idle) / (0.8 * nSteps), microseconds };
}

const N_PAGES = 100_000;
const N_TOKENS = 200;

function heapGrowth(run: () => void): number {
  collectGarbage();
  const before = process.memoryUsage().heapUsed;
  run();
  return process.memoryUsage().heapUsed - before;
}

function usedBytes(): number {
  // Array buffers are freed by the second collection only.
  collectGarbage();
  collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** The longest chat. Prompts have 161 tokens and answers 338 on average, with long tails, as in ShareGPT. */
export const MAX_TOKENS = 2048;
const PROMPT = { mean: 161, sigma: 1.2 };
const ANSWER = { mean: 338, sigma: 0.9 };

export interface Waste {
  /** Percentage of empty slots in the pages in use, averaged over steps. */
  readonly paged: number;
  /** The same if each sequence had `MAX_TOKENS` slots of its own. */
  readonly contiguous: number;
}

/** Serves `nSequences` chats, 64 at a time, and averages the waste. */
export function wasteOf(pageSize: number, nSequences: number): Waste {
  const random = new Random(1);
  const pages = new PageManager({ nPages: Math.ceil((64 * MAX_TOKENS) / pageSize), pageSize });
  const planner = new StepPlanner({ pages, maxTokens: 512, maxSequences: 64 });
  const nLeft = new Map<number, number>();
  let nStarted = 0;
  let nSteps = 0;
  const sums = { paged: 0, contiguous: 0 };
  for (;;) {
    for (; nLeft.size < 64 && nStarted < nSequences; nStarted++) {
      const nPrompt = lengthOf(random, PROMPT, MAX_TOKENS - 1);
      const tokens = Int32Array.from({ length: nPrompt }, () => random.int(0, 50_000));
      nLeft.set(planner.add({ tokens }), lengthOf(random, ANSWER, MAX_TOKENS - nPrompt));
    }
    const step = planner.plan();
    if (typeof step === 'string') break;
    const { nUsed, wastePercent } = pages.usage();
    sums.paged += wastePercent;
    const nSlots = planner.nRunning * MAX_TOKENS;
    sums.contiguous += 100 * (1 - (nUsed * pageSize * (1 - wastePercent / 100)) / nSlots);
    nSteps++;
    planner.commit(Array.from(step.sampled, () => random.int(0, 50_000)));
    for (const sequence of step.sampled) {
      nLeft.set(sequence, nLeft.get(sequence)! - 1);
      if (nLeft.get(sequence)! > 0) continue;
      nLeft.delete(sequence);
      planner.finish(sequence);
    }
  }
  return { paged: sums.paged / nSteps, contiguous: sums.contiguous / nSteps };
}

/** A log-normally distributed length with this mean. */
function lengthOf(random: Random, { mean, sigma }: typeof PROMPT, most: number): number {
  const length = Math.exp(Math.log(mean) - sigma ** 2 / 2 + sigma * random.normal());
  return Math.min(most, Math.max(1, Math.round(length)));
}
