import type { DeviceTraits } from '../core/deviceTraits.js';
import { bytesPerElement, type FloatDType, type QuantisedDType } from '../core/dtype.js';
import type { Spec } from '../wgsl/kernel.js';
import type { KernelName, OptionsOf } from './options.js';

/** A variant as the planner chooses it. */
export interface Choice {
  readonly spec: Spec;
  readonly tile: Tile | null;
  /** Of workgroup memory. */
  readonly workgroupBytes: number;
  /** By binding. */
  readonly stored: Readonly<Record<string, Stored>>;
  /** Jobs that a workgroup takes, where that depends on the variant. */
  readonly jobsPerWorkgroup?: number;
}

/** What a workgroup of an attention kernel takes at a time. */
export interface Tile {
  readonly rows: number;
  readonly keys: number;
}

/** How a tensor is stored. */
export interface Stored {
  /** Undefined where any type is copied or merged. */
  readonly dtype?: FloatDType | QuantisedDType | undefined;
  /** Bytes; every row or page begins at a multiple of them. */
  readonly alignment: number;
}

/** How the variant of a kernel is chosen; options are checked on the way. */
export type Choose<Name extends KernelName> = (
  caller: string,
  options: OptionsOf<Name>,
  traits: DeviceTraits,
) => Choice;

/** By kernel. */
export type Choices<Name extends KernelName> = { readonly [N in Name]: Choose<N> };

/** Of kernels without tiles, and without workgroup memory. */
export const NO_TILE = { tile: null, workgroupBytes: 0 } as const;

/** Rows that begin at multiples of so many elements. */
export function rows(dtype: FloatDType, elements = 1): Stored {
  return { dtype, alignment: elements * bytesPerElement(dtype) };
}
