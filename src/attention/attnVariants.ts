import { Call } from '../check/call.js';
import { checkHeadDims, checkHeads, checkTypes } from '../check/checkModel.js';
import { checkPreparedMods, type PreparedMod } from '../check/checkMods.js';
import { checkCounts, checkNames, namesOf, checkFlags } from '../core/checkArguments.js';
import type { DeviceTraits } from '../core/deviceTraits.js';
import type { FloatDType, KvDType } from '../core/dtype.js';
import { fail } from '../core/errors.js';
import { checkCacheFormat, checkRotationOf } from '../core/checkCacheFormat.js';
import { DEFAULT_SCALE_DTYPE, type KvRotation, type ScaleDType } from '../core/kvFormats.js';
import { attnDecodeKernel } from '../kernels/attnDecode.js';
import { listBlocksVariant } from '../kernels/listBlocks.js';
import { NO_MASKS } from '../problem/attentionProblem.js';
import type { Variant } from '../runtime/pipelines.js';
import type { Runtime } from '../runtime/runtime.js';
import { byName, eitherWay } from './matrixVariants.js';
import { checkSectionsOf, servedSteps, UNLIMITED, weightsVariants, type Served } from './servedSteps.js';

const NAMES = namesOf<AttnVariantOptions>({
  headDim: true,
  headDimV: true,
  dtype: true,
  kvDType: true,
  scaleDType: true,
  kvRotation: true,
  paged: true,
  returnLse: true,
  softcap: true,
  alibi: true,
  firstKeys: true,
  mask: true,
  blockMask: true,
  bias: true,
  scoreMod: true,
  maskMod: true,
  group: true,
  decodeTokens: true,
  newDType: true,
  rotary: true,
  positions: true,
  treeMask: true,
  rotarySections: true,
  weights: true,
});

/** What decides which kernels a call of `attn`, `attnVarlen` or `attnWithKvCache` runs. */
export interface AttnVariantOptions {
  readonly headDim: number;
  /** Default `headDim`. */
  readonly headDimV?: number | undefined;
  /** Of q and out. */
  readonly dtype: FloatDType;
  /** Of k and v, or of the caches. Default `dtype`. */
  readonly kvDType?: KvDType | undefined;
  /** Of the scales of an i8 or i4 cache. Default f16. */
  readonly scaleDType?: ScaleDType | undefined;
  /** How calls turn heads of a quantised cache. Default: they do not. */
  readonly kvRotation?: KvRotation | undefined;
  /** Whether calls pass `blockTable`. Default false. */
  readonly paged?: boolean | undefined;
  /** Whether calls pass `returnLse` or `lse`. Default: that of `weights`, which are made of an lse. */
  readonly returnLse?: boolean | undefined;
  /** Whether calls pass `softcap`. Default false. */
  readonly softcap?: boolean | undefined;
  /** Whether calls pass `alibiSlopes`. Default false. */
  readonly alibi?: boolean | undefined;
  /** Whether calls pass `firstKeys`, with a window or chunks. Default false. */
  readonly firstKeys?: boolean | undefined;
  /** Whether calls pass `mask`. Default false. */
  readonly mask?: boolean | undefined;
  /** Whether calls pass `blockMask`; with `maskMod`, `createBlockMask` is prepared as well. Default false. */
  readonly blockMask?: boolean | undefined;
  /** Type of the `bias` that calls pass. Default: they pass none. */
  readonly bias?: FloatDType | undefined;
  /** The mods that calls pass; instead of their tensors, types will do. Default: none. */
  readonly scoreMod?: PreparedMod | undefined;
  readonly maskMod?: PreparedMod | undefined;
  /** Query heads per kv head, for the decode kernels. Default: prefill kernels only. */
  readonly group?: number | undefined;
  /** Upper bound of the query tokens of a sequence that decodes. Default: no bound. */
  readonly decodeTokens?: number | undefined;
  /** Type of the new tokens that calls append. Default: none are. */
  readonly newDType?: FloatDType | undefined;
  /** Whether calls pass `rotaryCos` and `rotarySin`. Default false. */
  readonly rotary?: boolean | undefined;
  /** Whether calls pass `positions`. Default false. */
  readonly positions?: boolean | undefined;
  /** Whether calls pass `treeMask`. Default false. */
  readonly treeMask?: boolean | undefined;
  /** Whether calls pass `rotarySections`; needs `rotary` and `positions`. Default false. */
  readonly rotarySections?: boolean | undefined;
  /** Whether `attnWeights` is called for such calls as well; needs `group`. Default false. */
  readonly weights?: boolean | undefined;
}

/**
 * Returns the kernels of calls with contiguous tensors, for `runtime.prepare`: for all lengths, on the host or on the GPU,
 * and any numbers of heads and sequences. Where the runtime may come to use subgroup matrices, they are those with and those
 * without; `prepare` compiles what is needed. `prepareModel` knows more about a model and compiles less.
 *
 * @example
 * await runtime.prepare(attnVariants(runtime, { headDim: 128, dtype: 'f16', group: 4, paged: true }));
 */
export function attnVariants(runtime: Runtime, options: AttnVariantOptions): Variant[] {
  const call = Call.on(runtime, 'attnVariants');
  checkVariantOptions(call.name, options);
  const { headDim, headDimV = headDim, dtype, kvDType = dtype, newDType = null } = options;
  const { paged = false, rotary = false, softcap = false, alibi = false, group, decodeTokens } = options;
  const { firstKeys = false, mask = false, blockMask = false, bias = null } = options;
  const served: Served = {
    caller: call.name,
    nHeads: group ?? 1,
    nKvHeads: 1,
    headDim,
    headDimV,
    dtype,
    kvDType,
    scaleDType: options.scaleDType ?? DEFAULT_SCALE_DTYPE,
    turns: options.kvRotation !== undefined,
    newDType,
    paged,
    rotary,
    returnLse: options.returnLse ?? options.weights ?? false,
    tokens: {
      positions: options.positions ? 'gpu' : null,
      tree: options.treeMask ? 'gpu' : null,
      sections: options.rotarySections === true,
    },
    softcap,
    slopes: alibi ? 'host' : null,
    sinks: 'gpu',
    mask,
    blocks: blockMask,
    bias,
    mods: checkPreparedMods(call, options),
    lengths: 'gpu',
    masks: firstKeys ? { ...NO_MASKS, firstKeys: 1 } : NO_MASKS,
    sharedPrefix: false,
    numSplits: 0,
    maxTokens: UNLIMITED,
    maxContext: UNLIMITED,
  };
  const { candidate, fallback } = runtime;
  const weighs = options.weights ? weightsVariants(served, fallback) : [];
  const { maskMod } = served.mods ?? {};
  const besides = [...weighs, ...(blockMask && maskMod ? [listBlocksVariant(maskMod)] : [])];
  const without = [...variantsOf(served, { group, decodeTokens }, fallback), ...besides];
  if (!candidate) return [...byName(without).values()];
  return eitherWay(without, [...variantsOf(served, { group, decodeTokens }, candidate), ...besides]);
}

/** The kernels of any number of tokens; those for few tokens only as the options ask for them. */
function variantsOf(
  served: Served,
  { group, decodeTokens }: Pick<AttnVariantOptions, 'group' | 'decodeTokens'>,
  traits: DeviceTraits,
): Variant[] {
  const within = (bounds: Partial<Served>): Variant[] =>
    [...servedSteps({ ...served, ...bounds }, traits)].flatMap((step) => step.variants);
  const variants = within({});
  if (group !== undefined && decodeTokens === undefined) return variants;
  const many = variants.filter((variant) => !isDecode(variant));
  const few = group === undefined ? [] : within({ maxTokens: decodeTokens! }).filter(isDecode);
  return [...many, ...few];
}

function isDecode({ kernel }: Variant): boolean {
  return kernel.name === attnDecodeKernel.name;
}

function checkVariantOptions(caller: string, options: AttnVariantOptions): void {
  checkNames(caller, options, NAMES);
  const { headDim, headDimV = headDim, dtype, kvDType = dtype, newDType = dtype } = options;
  const { paged = false, softcap = false, alibi = false, rotary = false, weights = false } = options;
  const { firstKeys = false, mask = false, blockMask = false, bias = dtype } = options;
  const { group = 1, decodeTokens = 1 } = options;
  checkCounts(caller, { headDim, headDimV, group, decodeTokens });
  checkHeadDims(caller, { headDim, headDimV });
  checkHeads(caller, { group });
  checkTypes(caller, { dtype, newDType, bias });
  checkCacheFormat(caller, { kvDType, scaleDType: options.scaleDType, headDim, headDimV });
  checkRotationOf(caller, { kvRotation: options.kvRotation, kvDType, headDim, headDimV });
  const { positions = false, treeMask = false, rotarySections = false, returnLse = false } = options;
  checkFlags(caller, { paged, returnLse, softcap, alibi, firstKeys, mask, blockMask, rotary, weights });
  checkFlags(caller, { positions, treeMask, rotarySections });
  checkSectionsOf(caller, options);
  if (weights && options.group === undefined)
    fail('argument', caller, 'weights needs group, the number of query heads per kv head.');
}
