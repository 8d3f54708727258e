import type { WgslModule } from './template.js';
import type { Tensor } from './tensor.js';

/** A WGSL kernel as the build reads it from `src/kernels/<name>.wgsl`. */
export interface Kernel {
  /** Names the file, the entry point and the pipeline's label. */
  readonly name: string;
  /** Its own file, last, and all that it imports. */
  readonly modules: readonly WgslModule[];
  readonly bindings: readonly KernelBinding[];
  /** How the `params` uniform is laid out. */
  readonly params: ParamsLayout;
}

export interface KernelBinding {
  readonly name: string;
  /** Its number in group 0. */
  readonly binding: number;
  readonly access: 'uniform' | 'read' | 'read_write';
}

export interface ParamsLayout {
  readonly bytes: number;
  readonly fields: Readonly<
    Record<string, { readonly offset: number; readonly type: 'u32' | 'i32' | 'f32' }>
  >;
}

/** What specialises a kernel: conditions for its `@if` (absent is false) and values for its `constants`. */
export type Spec = Readonly<Record<string, boolean | number>>;

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
