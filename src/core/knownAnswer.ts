import type { DeviceTraits } from './deviceTraits.js';
import type { Dispatch } from './dispatch.js';
import type { Tensor } from './tensor.js';

/** Work of which it is known what comes out, as data. */
export interface KnownAnswer {
  readonly name: string;
  /** Their tensors are placeholders, in whose stead a run makes tensors like these. */
  readonly dispatches: readonly Dispatch[];
  /** What the tensors that are read hold. */
  readonly inputs: ReadonlyMap<Tensor, ArrayBufferView>;
  readonly outputs: readonly KnownOutput[];
}

/** A tensor that is written, and its numbers. */
export interface KnownOutput {
  readonly name: string;
  readonly tensor: Tensor;
  readonly expected: Float64Array;
  /** How far a number may be off. */
  readonly tolerance: number;
}

/**
 * What kernels must answer on a device with such traits before they may use its subgroup matrices. Each is made when it is
 * asked for.
 */
export type SelfTest = (traits: DeviceTraits) => Iterable<KnownAnswer>;
