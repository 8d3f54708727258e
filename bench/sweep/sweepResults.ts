import type { Tuning } from '../../src/core/tuning.js';
import type { AdapterFacts } from '../results.js';
import type { SweepCell } from './sweepCells.js';

/** The results of `--sweep`, as they are written to JSON. */
export interface SweepResults {
  /** Version of this format, raised when a field is renamed or changes its meaning. */
  readonly format: 1;
  /** ISO 8601 */
  readonly date: string;
  /** As `currentCommit` gives it. */
  readonly commit: string;
  readonly environment: string;
  readonly platform: string;
  readonly adapter: AdapterFacts;
  /** How long all of it took. */
  readonly seconds: number;
  readonly rows: readonly SweepRow[];
  /** Cells for which there was no time. */
  readonly left: readonly SweepCell[];
  /** The best of everything, for `createRuntime` on such a device. */
  readonly tuning: Tuning | null;
}

export type SweepRow = MeasuredSweep | FailedSweep;

export interface MeasuredSweep {
  readonly status: 'measured';
  readonly cell: SweepCell;
  readonly exercises: readonly SweepExercise[];
  /** What is in use first. */
  readonly candidates: readonly SweepCandidate[];
  /** Candidates whose results were not those of what is in use. */
  readonly wrong: readonly string[];
  /** Candidates whose kernels were not compiled in time. */
  readonly nLate: number;
}

export interface FailedSweep {
  readonly status: 'failed';
  readonly cell: SweepCell;
  readonly message: string;
}

/** A call that all candidates of a cell have made. */
export interface SweepExercise {
  readonly name: string;
  /** Floating-point operations, visible pairs only. */
  readonly flops: number;
  /** Of keys and values. */
  readonly bytes: number;
}

export interface SweepCandidate {
  readonly name: string;
  /** Median milliseconds of each exercise. */
  readonly ms: readonly number[];
  /** The distance of the quartiles over the median, the largest of the exercises. */
  readonly spread: number;
  /** Time over that of what is in use, the geometric mean of the exercises. */
  readonly score: number;
  /** Whether it was so slow in an exercise that it was measured there no more than twice; it cannot be the best. */
  readonly isFarOff: boolean;
}

/** What a cell gave, and the tuning with what was best in it. */
export interface SweepOutcome {
  /** Null where there was no time to compile what is in use. */
  readonly row: SweepRow | null;
  readonly tuning: Tuning | null;
}

/** Spreads beyond this are pointed out: the clocks moved, or something else ran. */
export const WIDE_SPREAD = 0.1;

export function bestOf({ candidates }: MeasuredSweep): SweepCandidate {
  const measured = candidates.filter(({ isFarOff }) => !isFarOff);
  return measured.reduce((best, each) => (each.score < best.score ? each : best));
}
