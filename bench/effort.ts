import type { BenchCase } from './cases.js';

/** How much time a row may take. */
export interface Effort {
  readonly minRounds: number;
  readonly maxRounds: number;
  /** Rounds end early when they have taken this long. */
  readonly budgetMs: number;
  /** A sample is of so many calls that it takes this long; 0: of one, however short. */
  readonly minSampleMs: number;
}

export interface EffortArgs {
  readonly software: boolean;
  readonly quick: boolean;
  readonly kind: BenchCase['kind'];
}

/** What the options leave for a row. On a software adapter each prefill is long, and rounds are few. */
export function effortFor({ software, quick, kind }: EffortArgs): Effort {
  if (software) {
    const minSampleMs = kind === 'decode' ? 20 : 0;
    return quick
      ? { minRounds: 3, maxRounds: 5, budgetMs: 1500, minSampleMs }
      : { minRounds: 3, maxRounds: 9, budgetMs: 6000, minSampleMs };
  }
  return quick
    ? { minRounds: 5, maxRounds: 7, budgetMs: 2000, minSampleMs: 30 }
    : { minRounds: 9, maxRounds: 21, budgetMs: 6000, minSampleMs: 100 };
}
