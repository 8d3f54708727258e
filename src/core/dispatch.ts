import type { Kernel, Spec } from '../wgsl/kernel.js';
import type { Load } from './pace.js';
import type { Tensor } from './tensor.js';

/** Numbers on the host that are uploaded with the call. */
export type HostData = Int32Array | Uint32Array | Float32Array;

/** Memory of the runtime. The dispatches of a call share it by name, and the next call reuses it. */
export interface Scratch {
  readonly scratch: string;
  readonly bytes: number;
}

/** One run of a kernel, as data. The runtime turns it into GPU work. */
export interface Dispatch {
  readonly kernel: Kernel;
  readonly spec: Spec;
  readonly params: Readonly<Record<string, number>>;
  /** What to bind, by the names in the WGSL; null where this run neither reads nor writes the binding. */
  readonly bindings: Readonly<Record<string, Tensor | HostData | Scratch | null>>;
  /** Whether it has nothing to do with the tensors of a layer, so that a plan runs it once a step. Default false. */
  readonly perStep?: boolean;
  /** Workgroups in x, y and z. */
  readonly grid: readonly [number, number, number];
  /** What attention has to do in this step, from which the runtime learns the pace of the device. */
  load?: Load;
}

/**
 * Returns a grid of at least `n` workgroups in two dimensions, since no dimension may have more than `limit`. Kernels
 * ignore the workgroups beyond `n`.
 */
export function grid2d(n: number, limit: number): [number, number, number] {
  const y = Math.ceil(n / limit);
  return [y > 1 ? Math.ceil(n / y) : n, y, 1];
}
