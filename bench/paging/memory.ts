import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { PageManager } from '../../src/paging/pageManager.js';
import { StepPlanner } from '../../src/paging/planner/stepPlanner.js';
import { PAGE_SIZE, tokensOf } from './busyPool.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Bytes of host memory that a page costs before anybody uses it, the tokens to compare included. */
export function bytesPerPage(nPages: number): number {
  const before = usedBytes();
  const manager = new PageManager({ nPages, pageSize: PAGE_SIZE });
  const bytes = usedBytes() - before;
  if (manager.nPages !== nPages) throw new Error('The manager is gone.');
  return bytes / nPages;
}

export interface SteadyState {
  /** Bytes that the heap grows by in a step while nothing is collected, beyond what it grows by itself. */
  readonly garbageBytes: number;
  readonly microseconds: number;
}

/** Steps of a planner in which sequences decode, and nothing else happens. */
export function steadyState(nSequences: number): SteadyState {
  const pages = new PageManager({ nPages: N_PAGES, pageSize: PAGE_SIZE });
  const planner = new StepPlanner({ pages, maxTokens: 1 << 20, maxSequences: nSequences });
  for (let i = 0; i < nSequences; i++) planner.add({ tokens: tokensOf(i, N_TOKENS) });
  const samples = new Int32Array(nSequences).fill(1);
  const run = (nSteps: number) => {
    for (let i = 0; i < nSteps; i++) {
      if (typeof planner.plan() === 'string') throw new Error('There is no step.');
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
  // What was an array buffer is only given back by the second.
  collectGarbage();
  collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
