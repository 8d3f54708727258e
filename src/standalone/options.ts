import { namesOf } from '../core/checkArguments.js';
import type { FloatDType } from '../core/dtype.js';
import type { StandaloneDevice } from './device.js';

/** What any kernel may be asked for. */
interface AnyKernel {
  /** Where it is to run. Default: any WebGPU device. */
  readonly device?: StandaloneDevice | undefined;
}

/** Rows of tensors. */
interface AnyRows {
  /**
   * Whether rows may begin at any element, and strides be any number of them. Default false: they are multiples of what
   * `bindings` says, as those of contiguous tensors are.
   */
  readonly unaligned?: boolean | undefined;
}

interface AnyAttention extends AnyKernel, AnyRows {
  /** 1 to 256. Kernels are shared by multiples of 32. */
  readonly headDim: number;
  /** Default `headDim`. */
  readonly headDimV?: number | undefined;
  /** Of q and out. */
  readonly dtype: FloatDType;
  /** Of k and v. Default `dtype`. */
  readonly kvDType?: FloatDType | undefined;
  /** Whether keys and values are in pages. Default false. */
  readonly paged?: boolean | undefined;
  /** Default false. */
  readonly softcap?: boolean | undefined;
  /** Default false. */
  readonly alibi?: boolean | undefined;
  /** Whether items are chunks of keys, whose parts `merge_states` combines. Default false. */
  readonly split?: boolean | undefined;
}

export interface AttnPrefillOptions extends AnyAttention {
  readonly kernel: 'attn_prefill';
}

export interface AttnDecodeOptions extends AnyAttention {
  readonly kernel: 'attn_decode';
  /** Query heads that share a kv head. Default 1. */
  readonly group?: number | undefined;
  /** Query tokens of a sequence. Default 1. */
  readonly tokens?: number | undefined;
}

export interface AppendKvOptions extends AnyKernel, AnyRows {
  readonly kernel: 'append_kv';
  readonly headDim: number;
  /** Of the new keys or values, or of q. */
  readonly dtype: FloatDType;
  /** Of the cache. Default `dtype`. */
  readonly kvDType?: FloatDType | undefined;
  /** Whether the cache is in pages. Default false. */
  readonly paged?: boolean | undefined;
  /** Whether to rotate on the way. Default false. */
  readonly rotary?: boolean | undefined;
  /** Whether queries are rotated into memory that is laid out like q, rather than keys appended. Default false. */
  readonly queries?: boolean | undefined;
}

export interface MergeStatesOptions extends AnyKernel, AnyRows {
  readonly kernel: 'merge_states';
  /** Of the output. */
  readonly headDim: number;
  /** Of the result. The types of the parts are params. */
  readonly dtype: FloatDType;
}

export interface CopyPagesOptions extends AnyKernel {
  readonly kernel: 'copy_pages';
  /** Whether pages may begin and end at any word, rather than at multiples of 16 bytes. Default false. */
  readonly unaligned?: boolean | undefined;
}

export interface GatherLengthsOptions extends AnyKernel {
  readonly kernel: 'gather_lengths';
}

export interface GatherHeadsOptions extends AnyKernel {
  readonly kernel: 'gather_heads';
}

/** Which kernel, and which variant of it. */
export type KernelVariantOptions =
  | AttnPrefillOptions
  | AttnDecodeOptions
  | AppendKvOptions
  | MergeStatesOptions
  | CopyPagesOptions
  | GatherLengthsOptions
  | GatherHeadsOptions;

export type KernelName = KernelVariantOptions['kernel'];

/** The options of a kernel. */
export type OptionsOf<Name extends KernelName> = Extract<KernelVariantOptions, { readonly kernel: Name }>;

const ANY = { kernel: true, device: true } as const;

const ATTENTION = {
  ...ANY,
  headDim: true,
  headDimV: true,
  dtype: true,
  kvDType: true,
  paged: true,
  softcap: true,
  alibi: true,
  split: true,
  unaligned: true,
} as const;

/** By kernel, what it may be asked for. */
export const OPTION_NAMES: { readonly [Name in KernelName]: readonly (keyof OptionsOf<Name> & string)[] } = {
  attn_prefill: namesOf<AttnPrefillOptions>(ATTENTION),
  attn_decode: namesOf<AttnDecodeOptions>({ ...ATTENTION, group: true, tokens: true }),
  append_kv: namesOf<AppendKvOptions>({
    ...ANY,
    headDim: true,
    dtype: true,
    kvDType: true,
    paged: true,
    rotary: true,
    queries: true,
    unaligned: true,
  }),
  merge_states: namesOf<MergeStatesOptions>({ ...ANY, headDim: true, dtype: true, unaligned: true }),
  copy_pages: namesOf<CopyPagesOptions>({ ...ANY, unaligned: true }),
  gather_lengths: namesOf<GatherLengthsOptions>(ANY),
  gather_heads: namesOf<GatherHeadsOptions>(ANY),
};

export const KERNEL_NAMES = Object.keys(OPTION_NAMES) as KernelName[];
