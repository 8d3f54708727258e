import type { FloatDType } from '../src/core/dtype.js';
import { threeDigits } from '../tools/format.js';
import type { Summary } from '../tools/statistics.js';
import type { BenchCase } from './cases/cases.js';
import type { OnnxCase } from './onnx/onnxCases.js';
import type { DecodeTraffic } from './cases/traffic.js';

/** The results of a run, as they are written to JSON. */
export interface BenchResults {
  /** Version of this format, raised when a field is renamed or changes its meaning. */
  readonly format: 3;
  /** ISO 8601 */
  readonly date: string;
  /** As `currentCommit` gives it. */
  readonly commit: string;
  /** What a reader should know besides. */
  readonly note?: string;
  /** The browser or the runtime, with its version. */
  readonly environment: string;
  /** Operating system and processor. */
  readonly platform: string;
  readonly adapter: AdapterFacts;
  readonly options: BenchSettings;
  readonly rows: readonly Row[];
  /** What recording a planned layer costs the host; missing if it was not asked for. */
  readonly recording?: RecordingRow;
  /** What the device can do at most; on software adapters only with `--scale`. */
  readonly ceilings?: Ceilings;
  /** Prompts and decode steps of one model at many lengths, pageflash alone; with `--scale`. */
  readonly scale?: readonly Row[];
  /** Beside onnxruntime-web; with `--peers`. */
  readonly onnx?: readonly OnnxRow[];
}

/** A step of one sequence, done by pageflash and by onnxruntime-web on the same adapter. */
export type OnnxRow = MeasuredOnnxRow | SkippedOnnxRow | FailedOnnxRow;

export interface MeasuredOnnxRow {
  readonly case: OnnxCase;
  readonly status: 'measured';
  /** Of onnxruntime-web; missing if it could not be loaded. */
  readonly version?: string;
  /** pageflash against the reference. */
  readonly check: Check;
  /** Milliseconds per whole call: a plan updated, recorded and submitted. */
  readonly pageflashMs: Summary;
  readonly modes: readonly OnnxModeResult[];
}

/** One that the device or onnxruntime-web cannot run. */
export interface SkippedOnnxRow {
  readonly case: OnnxCase;
  readonly status: 'skipped';
  readonly message: string;
}

/** One in which pageflash went wrong. */
export interface FailedOnnxRow {
  readonly case: OnnxCase;
  readonly status: 'failed';
  readonly message: string;
}

/** On a device with subgroups onnxruntime takes other kernels than on one without. */
export const ONNX_MODES = ['subgroups', 'no subgroups'] as const;
export type OnnxMode = (typeof ONNX_MODES)[number];

export type OnnxModeResult = MeasuredOnnxMode | SkippedOnnxMode;

export interface MeasuredOnnxMode {
  readonly mode: OnnxMode;
  /** Milliseconds per `session.run`. */
  readonly ms: Summary;
  /** pageflash's time over this one, round by round. */
  readonly ratio: Summary;
  /** From pageflash's output; null stands for a NaN. */
  readonly maxDifference: number | null;
  readonly allowed: number;
  readonly right: boolean;
}

export interface SkippedOnnxMode {
  readonly mode: OnnxMode;
  /** The reason. */
  readonly skipped: string;
}

export function hasRun(mode: OnnxModeResult): mode is MeasuredOnnxMode {
  return 'ms' in mode;
}

/** The fastest mode whose output is right. */
export function bestRightMode({ modes }: MeasuredOnnxRow): MeasuredOnnxMode | undefined {
  return modes
    .filter(hasRun)
    .filter(({ right }) => right)
    .toSorted((a, b) => a.ms.median - b.ms.median)[0];
}

/** Rows that did not run for one reason, as the first of them. */
export function skippedOnce(rows: readonly OnnxRow[]): readonly SkippedOnnxRow[] {
  const skipped = rows.filter((row) => row.status === 'skipped');
  const reasonOf = ({ case: { operator, dtype }, message }: SkippedOnnxRow) =>
    [operator, dtype, message].join();
  return [...new Map(skipped.toReversed().map((row) => [reasonOf(row), row])).values()].toReversed();
}

/** The rates of a device, by kernels that do nothing else. */
export interface Ceilings {
  /** 10⁹ bytes per second read, by kernels that only read. */
  readonly readGbps: number;
  /** 10⁹ bytes per second read and written, by kernels that copy. */
  readonly copyGbps: number;
  /** 10⁹ f32 operations per second, a multiply-add counted as two. */
  readonly fmaGflops: number;
}

export interface AdapterFacts {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** Whether it runs shaders on the CPU. */
  readonly software: boolean;
  readonly features: readonly string[];
  /** The largest storage binding that the device allows. */
  readonly maxBindingBytes: number;
}

/** The options of a run, except for where it runs and what it writes. */
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
  /** Floating-point operations of one call, by default those of all peers, too: only unmasked pairs count. */
  readonly flops: number;
  readonly checks: readonly Check[];
  readonly pageflash: Measurement;
  /** Naive attention first. */
  readonly peers: readonly Peer[];
  /** The bytes that pageflash moves; decode steps only. */
  readonly traffic?: DecodeTraffic;
}

export interface FailedRow {
  readonly case: BenchCase;
  readonly status: 'failed';
  readonly message: string;
}

/** A comparison of outputs that passed; if it had not, the row would have failed. */
export interface Check {
  readonly against: PeerName | 'reference';
  readonly maxDifference: number;
  readonly allowed: number;
}

export interface Measurement {
  /** Milliseconds per call: `repetitions` calls in a row, from the first submission until the queue is empty. */
  readonly ms: Summary;
  /** Milliseconds per call by GPU timestamps, on GPUs that have them. */
  readonly gpuMs?: Summary;
  readonly repetitions: number;
  /** The bytes that must be moved, and the operations on pairs that must be looked at. Missing in older results. */
  readonly bytes?: number;
  readonly flops?: number;
  /** 10⁹ operations per second, by the median time. */
  readonly gflops: number;
  /** 10⁹ bytes per second, by the median time, counting only the bytes that must be moved. */
  readonly gbps: number;
  /** GPU memory allocated besides q, k, v and out. */
  readonly memoryBytes: number;
}

/**
 * What pageflash is compared with. `attn_prefill` is its own kernel for prompts, made to run a decode step; `T1`
 * are its kernels without subgroup matrices, where it uses such; `plain` is its call without the option that a row is
 * about, or with what is built in for it.
 */
export type PeerName = 'naive' | 'attn_prefill' | 'T1' | 'plain';
export type Peer = MeasuredPeer | SkippedPeer;

export interface MeasuredPeer extends Measurement {
  readonly name: PeerName;
  /** The peer's time over pageflash's, round by round. */
  readonly speedup: Summary;
}

export interface SkippedPeer {
  readonly name: PeerName;
  /** The reason. */
  readonly skipped: string;
}

export function isMeasured(row: Row): row is MeasuredRow {
  return row.status === 'measured';
}

export function wasSkipped(peer: Peer): peer is SkippedPeer {
  return 'skipped' in peer;
}

/** How much of the device's reads a measurement makes use of, by the time on the GPU where it is known. */
export function readShare(measured: Measurement, { readGbps }: Ceilings): number {
  return (measured.gbps / readGbps) * waiting(measured);
}

/** How much of the device's multiply-adds in f32 a measurement makes use of. */
export function fmaShare(measured: Measurement, { fmaGflops }: Ceilings): number {
  return (measured.gflops / fmaGflops) * waiting(measured);
}

/** The time of a call over that on the GPU; the rates of a measurement are by the former. */
function waiting({ ms, gpuMs = ms }: Measurement): number {
  return ms.median / gpuMs.median;
}

/** The peer of that name, if it was measured. */
export function measuredPeer({ peers }: MeasuredRow, name: PeerName): MeasuredPeer | undefined {
  return peers.find((peer): peer is MeasuredPeer => peer.name === name && !wasSkipped(peer));
}

/** What a person calls the adapter; drivers fill in different fields. */
export function adapterName({ vendor, architecture, device, description, software }: AdapterFacts): string {
  const name = description || device || [vendor, architecture].filter(Boolean).join(' ') || 'unknown adapter';
  return software ? `${name} (software)` : name;
}

export type RecordingRow = MeasuredRecording | FailedRecording;

export interface MeasuredRecording {
  readonly status: 'measured';
  readonly costs: readonly RecordingCost[];
}

export interface FailedRecording {
  readonly status: 'failed';
  readonly message: string;
}

/** What it costs the host to record planned attention. */
export interface RecordingCost {
  /** What a layer does besides attention. */
  readonly name: string;
  /** Sequences of the step, each with a new token. It and the other optional fields are missing in older results. */
  readonly sequences?: number;
  readonly layers: number;
  readonly dispatchesPerLayer: number;
  /** Microseconds to record a planned layer into an open pass. */
  readonly layerUs: Summary;
  /** Microseconds per bare dispatch: the same `setPipeline`, `setBindGroup`, `dispatchWorkgroups` and nothing else. */
  readonly dispatchUs: Summary;
  /** The time of a planned layer over that of its bare dispatches, round by round. */
  readonly overBare: Summary;
  /** Microseconds to plan the next step, once for all layers. */
  readonly updateUs: Summary;
  /** That time over that of a bare dispatch, round by round. */
  readonly updateOverBare?: Summary;
  /** Bytes of garbage that planning a step leaves, where the platform tells. */
  readonly updateBytes?: number;
  /** Microseconds until a call without a plan has submitted its work. */
  readonly callUs?: Summary;
  readonly callOverBare?: Summary;
  /** Steps over which calls were counted, the first step left out. */
  readonly steps: number;
  /** Calls made by recording all layers of those steps. They must be zero, or the measurement fails. */
  readonly madeByLayers: CallCounts;
  /** Calls made by planning those steps. */
  readonly madeByUpdates: CallCounts;
}

/** How often WebGPU was called to create or write something. */
export interface CallCounts {
  readonly createBuffer: number;
  readonly createBindGroup: number;
  readonly writeBuffer: number;
}

/** In words, such as `2 buffers, 1 write`; `nothing` if all are zero. */
export function callCountsText({ createBuffer, createBindGroup, writeBuffer }: CallCounts): string {
  const words = [
    countText(createBuffer, 'buffer'),
    countText(writeBuffer, 'write'),
    countText(createBindGroup, 'bind group'),
  ].filter((text) => text !== '');
  return words.join(', ') || 'nothing';
}

function countText(n: number, what: string): string {
  return n === 0 ? '' : `${n} ${what}${n === 1 ? '' : 's'}`;
}

/** The rates of a device in words. */
export function ceilingsText({ readGbps, copyGbps, fmaGflops }: Ceilings): string {
  return `The device reads ${threeDigits(readGbps)} GB/s, copies ${threeDigits(copyGbps)} GB/s (read and written), multiplies and adds ${threeDigits(fmaGflops)} GFLOP/s in f32.`;
}
