import type { Kernel, Spec } from '../wgsl/kernel.js';
import type { Tensor } from './tensor.js';

/** Numbers on the host that go up with the call. */
export type HostData = Int32Array | Uint32Array | Float32Array;

/** Memory of the runtime, shared by name between the dispatches of a call and reused by the next call. */
export interface Scratch {
  readonly scratch: string;
  readonly bytes: number;
}

/** One run of a kernel, as data: only the runtime turns it into GPU work. */
export interface Dispatch {
  readonly kernel: Kernel;
  readonly spec: Spec;
  readonly params: Readonly<Record<string, number>>;
  /** By the names in the WGSL; null where this run does not read or write the binding. */
  readonly bindings: Readonly<Record<string, Tensor | HostData | Scratch | null>>;
  /** Workgroups in x, y and z. */
  readonly grid: readonly [number, number, number];
}
