import type { Summary } from '../statistics.js';

export type RecordingRow = MeasuredRecording | FailedRecording;

export interface MeasuredRecording {
  readonly status: 'measured';
  readonly costs: readonly RecordingCost[];
}

export interface FailedRecording {
  readonly status: 'failed';
  readonly message: string;
}

/** What it costs the host to record attention that was planned. */
export interface RecordingCost {
  /** What a layer does besides attention. */
  readonly name: string;
  readonly layers: number;
  readonly dispatchesPerLayer: number;
  /** Microseconds to record a planned layer into an open pass. */
  readonly layerUs: Summary;
  /** Microseconds of a bare dispatch: `setPipeline`, `setBindGroup`, `dispatchWorkgroups`, the same ones. */
  readonly dispatchUs: Summary;
  /** A planned layer over its dispatches bare, round by round. */
  readonly overBare: Summary;
  /** Microseconds to plan the next step, once for all layers. */
  readonly updateUs: Summary;
  /** Steps counted, the first one left out. */
  readonly steps: number;
  /** What recording all layers of those steps made: nothing, or it has failed. */
  readonly madeByLayers: Made;
  /** What planning them made. */
  readonly madeByUpdates: Made;
}

/** Calls to WebGPU. */
export interface Made {
  readonly createBuffer: number;
  readonly createBindGroup: number;
  readonly writeBuffer: number;
}

export function add(a: Made, b: Made): Made {
  return {
    createBuffer: a.createBuffer + b.createBuffer,
    createBindGroup: a.createBindGroup + b.createBindGroup,
    writeBuffer: a.writeBuffer + b.writeBuffer,
  };
}

export const NOTHING_MADE: Made = { createBuffer: 0, createBindGroup: 0, writeBuffer: 0 };

/** As `2 buffers, 1 write`. */
export function madeText({ createBuffer, createBindGroup, writeBuffer }: Made): string {
  const words = [
    count(createBuffer, 'buffer'),
    count(writeBuffer, 'write'),
    count(createBindGroup, 'bind group'),
  ].filter((text) => text !== '');
  return words.join(', ') || 'nothing';
}

function count(n: number, what: string): string {
  return n === 0 ? '' : `${n} ${what}${n === 1 ? '' : 's'}`;
}
