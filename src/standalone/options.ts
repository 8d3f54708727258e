import { namesOf } from '../core/checkArguments.js';
import type { FloatDType, KvDType, QuantisedDType } from '../core/dtype.js';
import type { KvRotation, ScaleDType } from '../core/kvFormats.js';
import type { StandaloneDevice } from './device.js';

/** Options that every kernel has. */
interface AnyKernel {
  /** The device that it is to run on. Default: what every WebGPU device has. */
  readonly device?: StandaloneDevice | undefined;
}

/** An option of kernels that read or write rows of tensors. */
interface AnyRows {
  /**
   * Whether rows may begin at any element, with any stride. Default false: rows and strides are multiples of the
   * `alignment` in `bindings`, as those of contiguous tensors are.
   */
  readonly unaligned?: boolean | undefined;
}

/** Options of kernels that compute scores. */
interface AnyScores extends AnyKernel, AnyRows {
  /** 1 to 576. Sizes up to the same multiple of 32 share a kernel, but for `attn_weights`. */
  readonly headDim: number;
  /** Element type of q, and of out. Over a cache with `kvRotation` it is f32: see `turn_heads`. */
  readonly dtype: FloatDType;
  /** Element type of k and v. Default `dtype`. Scales of e4m3 are in `batch_info`, those of i8 and i4 in buffers. */
  readonly kvDType?: KvDType | undefined;
  /** Of the scales of i8 and i4. Default f16. */
  readonly scaleDType?: ScaleDType | undefined;
  /** Whether keys and values are in pages. Default false. */
  readonly paged?: boolean | undefined;
  /** Whether scores are capped. Default false. */
  readonly softcap?: boolean | undefined;
  /** Whether scores get ALiBi biases. Default false. */
  readonly alibi?: boolean | undefined;
  /** Whether first keys are seen whatever a window and chunks say. Default false. */
  readonly firstKeys?: boolean | undefined;
  /** Whether a bit of each row and key says whether the row sees the key. Default false. */
  readonly mask?: boolean | undefined;
  /** Element type of what is added to scores, a number for each row and key. Default: nothing is. */
  readonly bias?: FloatDType | undefined;
  /** Whether query tokens have positions of their own, in `batch_info`. Default false. */
  readonly positions?: boolean | undefined;
  /** Whether query tokens see each other along a tree, in `batch_info`. Default false. */
  readonly treeMask?: boolean | undefined;
}

interface AnyAttention extends AnyScores {
  /** Default `headDim`. */
  readonly headDimV?: number | undefined;
  /** Whether items are chunks of keys, so that `merge_states` has to combine their results. Default false. */
  readonly split?: boolean | undefined;
  /** Whether the lse of each row is written, too. With `split` merge_states does it. Default false. */
  readonly returnLse?: boolean | undefined;
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

export interface AttnWeightsOptions extends AnyScores {
  readonly kernel: 'attn_weights';
  /** Query heads that share a kv head. Default 1. */
  readonly group?: number | undefined;
}

export interface AppendKvOptions extends AnyKernel, AnyRows {
  readonly kernel: 'append_kv';
  readonly headDim: number;
  /** Of values. Default `headDim`. */
  readonly headDimV?: number | undefined;
  /** Element type of the new keys and values. */
  readonly dtype: FloatDType;
  /** Element type of the cache. Default `dtype`. */
  readonly kvDType?: FloatDType | undefined;
  /** Element type of q. Default `dtype`. */
  readonly qDType?: FloatDType | undefined;
  /** Whether the cache is in pages. Default false. */
  readonly paged?: boolean | undefined;
  /** Whether to apply rotary embeddings. Default false. */
  readonly rotary?: boolean | undefined;
  /** Whether tokens are rotated by positions of their own, in `batch_info`; with `rotary`. Default false. */
  readonly positions?: boolean | undefined;
  /** Whether they have three each, for pairs by sections; with `positions`. Default false. */
  readonly rotarySections?: boolean | undefined;
  /** Whether to rotate queries into memory that is laid out like q. Default false. */
  readonly queries?: boolean | undefined;
  /** Whether to append keys and values. Default: not with `queries`. Both take ten storage buffers. */
  readonly appends?: boolean | undefined;
}

export interface AppendQuantisedOptions extends AnyKernel, AnyRows {
  readonly kernel: 'append_quantised';
  /** Of the side that is written. */
  readonly headDim: number;
  /** Element type of the new keys or values. */
  readonly dtype: FloatDType;
  /** Element type of the cache. */
  readonly kvDType: QuantisedDType;
  /** Of the scales of i8 and i4. Default f16. */
  readonly scaleDType?: ScaleDType | undefined;
  /** Which of the two are written. Default `keys`. */
  readonly side?: 'keys' | 'values' | undefined;
  /** Whether the cache is in pages. Default false. */
  readonly paged?: boolean | undefined;
  /** Whether to apply rotary embeddings, to keys. Default false. */
  readonly rotary?: boolean | undefined;
  /** Whether tokens are rotated by positions of their own, in `batch_info`; with `rotary`. Default false. */
  readonly positions?: boolean | undefined;
  /** Whether they have three each, for pairs by sections; with `positions`. Default false. */
  readonly rotarySections?: boolean | undefined;
  /** Whether heads are multiplied by the Hadamard matrix; `headDim` is a power of two then. Default: they are not. */
  readonly kvRotation?: KvRotation | undefined;
}

export interface TurnHeadsOptions extends AnyKernel, AnyRows {
  readonly kernel: 'turn_heads';
  /** Of the heads that are turned, a power of two. */
  readonly headDim: number;
  /** Element type of the queries, or of the outputs. On attention's side they are f32. */
  readonly dtype: FloatDType;
  /** Whether queries are turned before attention, or its outputs after it. Default `queries`. */
  readonly heads?: 'queries' | 'outputs' | undefined;
  /** Whether to apply rotary embeddings, to queries. Default false. */
  readonly rotary?: boolean | undefined;
  /** Whether tokens are rotated by positions of their own, in `batch_info`; with `rotary`. Default false. */
  readonly positions?: boolean | undefined;
  /** Whether they have three each, for pairs by sections; with `positions`. Default false. */
  readonly rotarySections?: boolean | undefined;
}

export interface MergeStatesOptions extends AnyKernel, AnyRows {
  readonly kernel: 'merge_states';
  /** Head size of the output. */
  readonly headDim: number;
  /** Element type of the result. Those of the parts are in params, but chunks are f32. */
  readonly dtype: FloatDType;
  /** The chunks of a split attention, these with those of a shared prefix, parts at equal distances, or two. Default `chunks`. */
  readonly parts?: 'chunks' | 'cascade' | 'stack' | 'pair' | undefined;
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

export interface GatherTokensOptions extends AnyKernel {
  readonly kernel: 'gather_tokens';
}

/** A kernel, and what decides its variant. */
export type KernelVariantOptions =
  | AttnPrefillOptions
  | AttnDecodeOptions
  | AttnWeightsOptions
  | AppendKvOptions
  | AppendQuantisedOptions
  | TurnHeadsOptions
  | MergeStatesOptions
  | CopyPagesOptions
  | GatherLengthsOptions
  | GatherHeadsOptions
  | GatherTokensOptions;

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
  scaleDType: true,
  paged: true,
  softcap: true,
  alibi: true,
  firstKeys: true,
  mask: true,
  bias: true,
  positions: true,
  treeMask: true,
  split: true,
  returnLse: true,
  unaligned: true,
} as const;

const { headDimV: _headDimV, split: _split, returnLse: _returnLse, ...SCORES } = ATTENTION;

/** The names of the options of each kernel. */
export const OPTION_NAMES: { readonly [Name in KernelName]: readonly (keyof OptionsOf<Name> & string)[] } = {
  attn_prefill: namesOf<AttnPrefillOptions>(ATTENTION),
  attn_decode: namesOf<AttnDecodeOptions>({ ...ATTENTION, group: true, tokens: true }),
  attn_weights: namesOf<AttnWeightsOptions>({ ...SCORES, group: true }),
  append_kv: namesOf<AppendKvOptions>({
    ...ANY,
    headDim: true,
    headDimV: true,
    dtype: true,
    kvDType: true,
    qDType: true,
    paged: true,
    rotary: true,
    positions: true,
    rotarySections: true,
    queries: true,
    appends: true,
    unaligned: true,
  }),
  append_quantised: namesOf<AppendQuantisedOptions>({
    ...ANY,
    headDim: true,
    dtype: true,
    kvDType: true,
    scaleDType: true,
    side: true,
    paged: true,
    rotary: true,
    positions: true,
    rotarySections: true,
    kvRotation: true,
    unaligned: true,
  }),
  turn_heads: namesOf<TurnHeadsOptions>({
    ...ANY,
    headDim: true,
    dtype: true,
    heads: true,
    rotary: true,
    positions: true,
    rotarySections: true,
    unaligned: true,
  }),
  merge_states: namesOf<MergeStatesOptions>({
    ...ANY,
    headDim: true,
    dtype: true,
    parts: true,
    unaligned: true,
  }),
  copy_pages: namesOf<CopyPagesOptions>({ ...ANY, unaligned: true }),
  gather_lengths: namesOf<GatherLengthsOptions>(ANY),
  gather_heads: namesOf<GatherHeadsOptions>(ANY),
  gather_tokens: namesOf<GatherTokensOptions>(ANY),
};

export const KERNEL_NAMES = Object.keys(OPTION_NAMES) as KernelName[];
