import { PageManager } from '../../src/paging/pageManager.js';
import { StepPlanner } from '../../src/paging/planner/stepPlanner.js';
import { Random } from '../../tools/random.js';

/** The lengths of chats as people share them: prompts of 161 tokens and answers of 338 on average, with long tails. */
export const MAX_TOKENS = 2048;
const PROMPT = { mean: 161, sigma: 1.2 };
const ANSWER = { mean: 338, sigma: 0.9 };

export interface Waste {
  /** Percent of the slots of pages in use that hold no token, on average over time. */
  readonly paged: number;
  /** The same if each sequence had the memory for `MAX_TOKENS` to itself. */
  readonly contiguous: number;
}

/** Serve `nSequences` such chats, 64 at a time. */
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

/** Lengths spread log-normally about a mean. */
function lengthOf(random: Random, { mean, sigma }: typeof PROMPT, most: number): number {
  const length = Math.exp(Math.log(mean) - sigma ** 2 / 2 + sigma * random.normal());
  return Math.min(most, Math.max(1, Math.round(length)));
}
