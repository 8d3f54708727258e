import { checkChoice, checkCounts, checkFlags, checkNames, namesOf } from '../core/checkArguments.js';
import type { DeviceClass, DeviceTraits, Tier } from '../core/deviceTraits.js';
import type { FloatDType, QuantisedDType } from '../core/dtype.js';
import type { KvRotation, ScaleDType } from '../core/kvFormats.js';
import { fail } from '../core/errors.js';

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
  /** Element type of q, and of out. */
  readonly dtype: FloatDType;
  /** Element type of k and v. Default `dtype`. */
  readonly kvDType?: FloatDType | undefined;
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

/** What the text of a kernel depends on in a device. Defaults are what every WebGPU device has. */
export interface StandaloneDevice {
  /** `software` for a device that runs shaders on the CPU, where other tile shapes are faster. Default `gpu`. */
  readonly deviceClass?: DeviceClass | undefined;
  /** `T0` uses no optional feature. Default: `T1` if the device has any of the features below. */
  readonly tier?: Exclude<Tier, 'T2'> | undefined;
  /** Whether the device has `shader-f16`. Default false. */
  readonly shaderF16?: boolean | undefined;
  /** The fewest invocations of a subgroup; 0 without the feature `subgroups`. Default 0. */
  readonly subgroupMinSize?: number | undefined;
  /** The most invocations of a subgroup. Default 128 with the feature `subgroups`. */
  readonly subgroupMaxSize?: number | undefined;
  /** `maxComputeWorkgroupStorageSize`. Default 16384. */
  readonly maxWorkgroupBytes?: number | undefined;
  /** The lesser of `maxComputeInvocationsPerWorkgroup` and `maxComputeWorkgroupSizeX`. Default 256. */
  readonly maxWorkgroupInvocations?: number | undefined;
  /** `maxComputeWorkgroupsPerDimension`. Default 65535. */
  readonly maxWorkgroupsPerDimension?: number | undefined;
  /** `maxStorageBuffersPerShaderStage`. Default 8. */
  readonly maxStorageBuffers?: number | undefined;
}

export const DEVICE_NAMES = namesOf<StandaloneDevice>({
  deviceClass: true,
  tier: true,
  shaderF16: true,
  subgroupMinSize: true,
  subgroupMaxSize: true,
  maxWorkgroupBytes: true,
  maxWorkgroupInvocations: true,
  maxWorkgroupsPerDimension: true,
  maxStorageBuffers: true,
});

const SUBGROUP_SIZES = [0, 4, 8, 16, 32, 64, 128] as const;

/** Checks a device and returns its traits for the planner. */
export function traitsOf(caller: string, device: StandaloneDevice): DeviceTraits {
  checkNames(caller, device, DEVICE_NAMES, { of: 'device' });
  const { deviceClass = 'gpu', shaderF16 = false, subgroupMinSize = 0 } = device;
  const { subgroupMaxSize = subgroupMinSize > 0 ? 128 : 0 } = device;
  const { tier = shaderF16 || subgroupMinSize > 0 ? 'T1' : 'T0' } = device;
  const {
    maxWorkgroupBytes = 16384,
    maxWorkgroupInvocations = 256,
    maxWorkgroupsPerDimension = 65535,
    maxStorageBuffers = 8,
  } = device;
  checkChoice(caller, 'deviceClass', deviceClass, ['software', 'gpu']);
  checkChoice(caller, 'tier', tier, ['T0', 'T1']);
  checkFlags(caller, { shaderF16 });
  checkChoice(caller, 'subgroupMinSize', subgroupMinSize, SUBGROUP_SIZES);
  checkChoice(caller, 'subgroupMaxSize', subgroupMaxSize, SUBGROUP_SIZES);
  checkCounts(caller, {
    maxWorkgroupBytes,
    maxWorkgroupInvocations,
    maxWorkgroupsPerDimension,
    maxStorageBuffers,
  });
  if (subgroupMaxSize < subgroupMinSize || (subgroupMinSize === 0 && subgroupMaxSize > 0))
    fail(
      'argument',
      caller,
      `subgroups have ${subgroupMinSize} to ${subgroupMaxSize} invocations. Pass the device's subgroupMinSize and subgroupMaxSize, or neither.`,
    );
  if (tier === 'T0' && (shaderF16 || subgroupMinSize > 0))
    fail('argument', caller, 'tier T0 uses no optional feature. Leave out shaderF16 and subgroups, or tier.');
  return {
    deviceClass,
    vendor: '',
    architecture: '',
    tier,
    shaderF16,
    subgroupMinSize,
    subgroupMaxSize,
    subgroupSizeControl: false,
    matrices: null,
    matricesNote: 'The texts of kernels for other engines use no subgroup matrices.',
    maxWorkgroupBytes,
    maxWorkgroupInvocations,
    maxWorkgroupsPerDimension,
    // It decides how work is split into dispatches, not the text of kernels.
    maxBindingBytes: Infinity,
    tuning: null,
    maxStorageBuffers,
  };
}
