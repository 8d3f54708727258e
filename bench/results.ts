import type { FloatDType } from '../src/core/dtype.js';
import type { BenchCase } from './cases.js';
import type { DecodeTraffic } from './decode/traffic.js';
import type { RecordingRow } from './recording/results.js';
import type { Summary } from './statistics.js';

/** All that a run has found, as it is written to JSON. */
export interface BenchResults {
  /** Grows when fields change their meaning. */
  readonly format: 2;
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
  /** What plans cost the host; missing where that was not asked for. */
  readonly recording?: RecordingRow;
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
  /** Of all contenders, over visible pairs only. */
  readonly flops: number;
  readonly checks: readonly Check[];
  readonly pageflash: Measurement;
  /** Naive attention first. */
  readonly rivals: readonly Rival[];
  /** Of decoding, what pageflash moves. */
  readonly traffic?: DecodeTraffic;
}

export interface FailedRow {
  readonly case: BenchCase;
  readonly status: 'failed';
  readonly message: string;
}

/** A comparison that was passed, or the row would have failed. */
export interface Check {
  readonly against: RivalName | 'reference';
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

/** `attn_prefill`: our own kernel for prompts, given a step of decoding. */
export type RivalName = 'naive' | 'attn_prefill';
export type Rival = MeasuredRival | SkippedRival;

export interface MeasuredRival extends Measurement {
  readonly name: RivalName;
  /** Its time over the time of pageflash, round by round. */
  readonly speedup: Summary;
}

export interface SkippedRival {
  readonly name: RivalName;
  /** Why. */
  readonly skipped: string;
}

export function isMeasured(row: Row): row is MeasuredRow {
  return row.status === 'measured';
}

export function wasSkipped(rival: Rival): rival is SkippedRival {
  return 'skipped' in rival;
}

/** The rival of that name, if it was measured. */
export function measuredRival({ rivals }: MeasuredRow, name: RivalName): MeasuredRival | undefined {
  return rivals.find((rival): rival is MeasuredRival => rival.name === name && !wasSkipped(rival));
}
