import type { WgslModule } from './template.js';

/** A WGSL kernel as the build reads it from `src/kernels/<name>.wgsl`. */
export interface Kernel {
  /** Names the file, the entry point and the pipeline's label. */
  readonly name: string;
  /** Its own file, last, and all that it imports. */
  readonly modules: readonly WgslModule[];
  readonly bindings: readonly KernelBinding[];
  /** How the `params` uniform is laid out. */
  readonly params: StructLayout;
}

export interface KernelBinding {
  readonly name: string;
  /** Its number in group 0. */
  readonly binding: number;
  readonly access: 'uniform' | 'read' | 'read_write';
}

/** A struct of a kernel as it lies in memory; fields are in order. */
export interface StructLayout {
  readonly bytes: number;
  readonly fields: Readonly<Record<string, FieldLayout>>;
}

export interface FieldLayout {
  /** Bytes. */
  readonly offset: number;
  readonly type: 'u32' | 'i32' | 'f32';
}

/** The records of a `.wgsl` file and of all that it imports: an `import` of `x.wgsl?records` yields it. */
export interface WgslRecords {
  /** Structs of 32-bit numbers, by name. */
  readonly structs: Readonly<Record<string, StructLayout>>;
  /** Integers that hold for every variant. */
  readonly constants: Readonly<Record<string, number>>;
  /** By binding: which of the structs it begins with, or consists of. */
  readonly contents: Readonly<Record<string, string>>;
}

/** What the comments of a `.wgsl` file say: an `import` of `x.wgsl?notes` yields it. */
export interface WgslNotes {
  /** The comment at its beginning. */
  readonly header: string;
  /** By binding, as the header has them. */
  readonly bindings: Readonly<Record<string, string>>;
  /** By struct, then by field; those of imported files, too. */
  readonly fields: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** What specialises a kernel: conditions for its `@if` (absent is false) and values for its `constants`. */
export type Spec = Readonly<Record<string, boolean | number>>;
