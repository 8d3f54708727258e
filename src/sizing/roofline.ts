import { namesOf } from '../core/checkNames.js';
import { checkAmounts, checkObject } from './check.js';

/** What a piece of work costs: see `attentionFlops`, `forwardFlops`, `attentionBytes` and `forwardBytes`. */
export interface StepCost {
  readonly flops: number;
  /** Moved between memory and the processor. */
  readonly bytes: number;
}

/** What a device can do at best. WebGPU does not tell: measure it, or look it up. */
export interface DeviceRates {
  /** In the arithmetic that is used: f16 on matrix units is another rate than f32. */
  readonly flopsPerSecond: number;
  readonly bytesPerSecond: number;
}

export interface Roofline {
  /** The arithmetic intensity of the work. */
  readonly flopsPerByte: number;
  /** Of the device, where the slope of the roofline meets the flat: 208 of an A100 (312 TFLOP/s, 1.5 TB/s). */
  readonly ridgeFlopsPerByte: number;
  /** What holds the work up. `memory`: fewer bytes or a larger batch help. `compute`: fewer operations help. */
  readonly bound: 'compute' | 'memory';
  /** The least that the work can take. */
  readonly seconds: number;
}

const COST_NAMES = namesOf<StepCost>({ flops: true, bytes: true });
const RATE_NAMES = namesOf<DeviceRates>({ flopsPerSecond: true, bytesPerSecond: true });

/**
 * Which side of a device's roofline a piece of work is on, and how long it takes at best.
 *
 * @throws PageflashError `argument`
 * @example
 * const step = { qLen: 1, kLen: 8192 };
 * const bytes = forwardBytes(llama3, { ...step, weightPrecision: 4.5, cacheDType: 'f16' });
 * const { total: flops } = forwardFlops(llama3, step);
 * const m2Max = { flopsPerSecond: 13.6e12, bytesPerSecond: 400e9 };
 * roofline({ flops, bytes }, m2Max); // bound 'memory', seconds 0.0132: at best 75 tokens a second
 */
export function roofline(cost: StepCost, device: DeviceRates): Roofline {
  checkObject('roofline', 'cost', cost, COST_NAMES);
  checkObject('roofline', 'device', device, RATE_NAMES);
  const { flops, bytes } = cost;
  const { flopsPerSecond, bytesPerSecond } = device;
  checkAmounts('roofline', { flops });
  checkAmounts('roofline', { bytes, flopsPerSecond, bytesPerSecond }, { above: true });
  const computeSeconds = flops / flopsPerSecond;
  const memorySeconds = bytes / bytesPerSecond;
  return {
    flopsPerByte: flops / bytes,
    ridgeFlopsPerByte: flopsPerSecond / bytesPerSecond,
    bound: computeSeconds < memorySeconds ? 'memory' : 'compute',
    seconds: Math.max(computeSeconds, memorySeconds),
  };
}
