import type { FloatDType } from '../src/core/dtype.js';
import type { BenchCase } from './shapes.js';
import type { Summary } from './statistics.js';

/** All that a run has found, as it is written to JSON. */
export interface BenchResults {
  /** Grows when fields change their meaning. */
  readonly format: 1;
  /** ISO 8601 */
  readonly date: string;
  /** Of the sources; `unknown` outside of a checkout, with `-dirty` where files were changed. */
  readonly commit: string;
  /** The browser or the runtime, with its version. */
  readonly environment: string;
  /** Operating system and processor. */
  readonly platform: string;
  readonly adapter: AdapterFacts;
  readonly options: BenchSettings;
  readonly rows: readonly Row[];
}

export interface AdapterFacts {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** Whether it runs shaders on the CPU. */
  readonly software: boolean;
  readonly features: readonly string[];
  /** The biggest storage binding that the device allows. */
  readonly maxBindingBytes: number;
}

/** What the user asked for, besides where to run and where to write. */
export interface BenchSettings {
  readonly dtype: FloatDType;
  readonly shapes: readonly string[];
  readonly quick: boolean;
  readonly full: boolean;
}

export type Row = MeasuredRow | FailedRow;

export interface MeasuredRow {
  readonly case: BenchCase;
  readonly status: 'measured';
  /** Of both contenders, over visible pairs only. */
  readonly flops: number;
  readonly checks: readonly Check[];
  readonly pageflash: Measurement;
  readonly naive: Measurement | Skipped;
  /** Time of naive over time of pageflash, round by round; missing where naive was skipped. */
  readonly speedup?: Summary;
}

export interface FailedRow {
  readonly case: BenchCase;
  readonly status: 'failed';
  readonly message: string;
}

/** A comparison that was passed, or the row would have failed. */
export interface Check {
  readonly against: 'naive' | 'reference';
  readonly maxDifference: number;
  readonly allowed: number;
}

export interface Measurement {
  /** Milliseconds of a call, from submission until the queue is idle, in a row of `repetitions` calls. */
  readonly ms: Summary;
  /** Milliseconds on the GPU's own clock, where it has one. */
  readonly gpuMs?: Summary;
  readonly repetitions: number;
  /** 10⁹ operations a second, by the median. */
  readonly gflops: number;
  /** 10⁹ bytes a second, by the median, of those that have to be moved at least. */
  readonly gbps: number;
  /** GPU memory besides q, k, v and out. */
  readonly memoryBytes: number;
}

export interface Skipped {
  readonly skipped: string;
}

export function isMeasured(row: Row): row is MeasuredRow {
  return row.status === 'measured';
}

export function wasSkipped(contender: Measurement | Skipped): contender is Skipped {
  return 'skipped' in contender;
}
