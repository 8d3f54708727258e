/** A WGSL kernel: an `import` of its `.wgsl` file yields it. */
export interface Kernel {
  /** Names the file, the entry point and the pipeline's label. */
  readonly name: string;
  /** Its own file, last, and all that it imports. */
  readonly modules: readonly WgslModule[];
  /** What any of its variants binds, by number: all of them share one layout. */
  readonly bindings: readonly KernelBinding[];
  /** How the `params` uniform is laid out. */
  readonly params: StructLayout;
  /** Functions of a caller's own that its text has. Default: none. */
  readonly mods?: readonly KernelMod[];
}

/** The argument by which a caller gives a function of its own: see mods.ts. */
export type ModKind = 'scoreMod' | 'maskMod';

/** A function of a caller's own in a kernel. */
export interface KernelMod {
  readonly kind: ModKind;
  readonly name: string;
  /** Equal for mods of the same text alone. */
  readonly label: string;
  readonly code: string;
  /** What its names are in the code, by what they are in the kernel. */
  readonly names: ReadonlyMap<string, string>;
}

/** A `.wgsl` file as text in which marks stand for what a variant decides; `link.ts` says which. */
export type WgslModule = string;

export interface KernelBinding {
  readonly name: string;
  /** Its number in group 0. */
  readonly binding: number;
  readonly access: 'uniform' | 'read' | 'read_write';
}

/** A struct of 32-bit numbers as it lies in memory; fields are in order. */
export interface StructLayout {
  readonly bytes: number;
  readonly fields: Readonly<Record<string, FieldLayout>>;
}

export interface FieldLayout {
  /** Bytes. */
  readonly offset: number;
  readonly type: 'u32' | 'i32' | 'f32';
}

/** What the comments of a `.wgsl` file say: an `import` of `x.wgsl?notes` yields it. */
export interface WgslNotes {
  /** The comment at its beginning. */
  readonly header: string;
  /** By binding, as the header has them. */
  readonly bindings: Readonly<Record<string, string>>;
  /** By binding: the struct that it consists of, or begins with. */
  readonly contents: Readonly<Record<string, string>>;
  /** By struct, then by field; those of imported files, too. */
  readonly fields: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** What specialises a kernel: conditions for its `@if` (absent is false) and values for its `constants`. */
export type Spec = Readonly<Record<string, boolean | number>>;
