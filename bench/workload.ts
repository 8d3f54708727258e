import type { Tensor } from '../src/core/tensor.js';
import type { Runtime } from '../src/runtime/runtime.js';
import type { BenchCase } from './cases.js';
import type { Reals } from './check.js';
import type { DecodeTraffic } from './decode/traffic.js';
import { decodeWorkload } from './decode/workload.js';
import { prefillWorkload } from './prefill/workload.js';
import type { Check, RivalName } from './results.js';

/** A case with its inputs on a device: ways to compute it, and what has to come out. */
export interface Workload {
  /** Of the output, in the type of the case. */
  readonly outShape: readonly number[];
  /** Of all contenders, over visible pairs only. */
  readonly flops: number;
  readonly pageflash: Approach;
  /** Naive attention first. */
  readonly rivals: readonly (Approach & { readonly name: RivalName })[];
  /** @throws Error that says where an output differs from the reference by more than is allowed */
  check(out: Reals): Check;
  /** What pageflash moves, where that is counted. */
  traffic?(runtime: Runtime): DecodeTraffic;
  destroy(): void;
}

/** A way to compute a workload. */
export interface Approach {
  readonly name: string;
  /** Bytes that cannot but be moved. */
  readonly bytes: number;
  /** What forbids to run it on this device, if anything does. */
  readonly obstacle?: string | undefined;
  /** Makes what can be made before all calls. */
  prepare(runtime: Runtime, out: Tensor): Call;
}

/** Submits one whole computation. */
export type Call = () => void;

export function createWorkload(device: GPUDevice, benchCase: BenchCase): Workload {
  return benchCase.kind === 'prefill'
    ? prefillWorkload(device, benchCase)
    : decodeWorkload(device, benchCase);
}
