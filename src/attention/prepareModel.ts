import { Call } from '../check/call.js';
import { checkHeadDims, checkHeads, checkTypes } from '../check/checkModel.js';
import { checkPreparedMods, type PreparedMod } from '../check/checkMods.js';
import { checkMasks } from '../check/checkOptions.js';
import { checkChoice, checkCounts, checkNames, namesOf, checkFlags } from '../core/checkArguments.js';
import type { DeviceTraits } from '../core/deviceTraits.js';
import type { FloatDType, KvDType } from '../core/dtype.js';
import { checkCacheFormat, checkRotationOf } from '../core/checkCacheFormat.js';
import { DEFAULT_SCALE_DTYPE, type KvRotation, type ScaleDType } from '../core/kvFormats.js';
import { cachePagesVariant } from '../kernels/copyPages.js';
import type { AttentionOptions } from '../problem/attentionArgs.js';
import { checkPrepareOptions, type PrepareOptions } from '../runtime/runtimeOptions.js';
import { nextTurn, type Variant } from '../runtime/pipelines.js';
import type { Runtime } from '../runtime/runtime.js';
import { checkAttention, SHAPE_NAMES, type AttentionShape } from '../sizing/modelShape.js';
import { eitherWay } from './matrixVariants.js';
import { checkSectionsOf, servedSteps, UNLIMITED, type Served, type Whereabouts } from './servedSteps.js';

/** The shape of a model, and everything else that decides which kernels its steps run. */
export interface PrepareModelOptions
  extends
    AttentionShape,
    PrepareOptions,
    Pick<AttentionOptions, 'windowSize' | 'attentionChunk' | 'firstKeys' | 'numSplits'> {
  /** Of q and out. */
  readonly dtype: FloatDType;
  /** Of the cache. Default `dtype`. */
  readonly kvDType?: KvDType | undefined;
  /** Of the scales of an i8 or i4 cache. Default f16. */
  readonly scaleDType?: ScaleDType | undefined;
  /** Whether heads of a quantised cache are turned: calls pass `kvRotation`. Default: they are not. */
  readonly kvRotation?: KvRotation | undefined;
  /** Whether calls pass new keys and values, `k` and `v`. Default true. */
  readonly appends?: boolean | undefined;
  /** Of new keys and values. Default `dtype`. */
  readonly newDType?: FloatDType | undefined;
  /** Whether the cache is in pages: calls pass `blockTable`. */
  readonly paged: boolean;
  /** Upper bound of a sequence's new tokens in a step: the longest chunk of a prompt. */
  readonly maxTokens: number;
  /** Upper bound of a sequence's keys, new ones included. Default: no bound. */
  readonly maxContext?: number | undefined;
  /** Whether calls pass `rotaryCos` and `rotarySin`. Default false. */
  readonly rotary?: boolean | undefined;
  /** Whether calls pass `positions`; `'gpu'` if these are a tensor. Default false. */
  readonly positions?: boolean | 'gpu' | undefined;
  /** Whether calls pass `treeMask`; `'gpu'` if it is a tensor. Default false. */
  readonly treeMask?: boolean | 'gpu' | undefined;
  /** Whether calls pass `rotarySections`; needs `rotary` and `positions`. Default false. */
  readonly rotarySections?: boolean | undefined;
  /** Whether calls pass `returnLse` or `lse`. Default false. */
  readonly returnLse?: boolean | undefined;
  /** Whether calls pass `softcap`. Default false. */
  readonly softcap?: boolean | undefined;
  /** Whether calls pass `alibiSlopes`; `'gpu'` if these are a tensor. Default false. */
  readonly alibi?: boolean | 'gpu' | undefined;
  /** Whether calls pass `sinks`; `'gpu'` if these are a tensor. Default false. */
  readonly sinks?: boolean | 'gpu' | undefined;
  /** Whether calls pass `sharedPrefix`; needs `paged`. Default false. */
  readonly sharedPrefix?: boolean | undefined;
  /** Whether calls pass `mask`. Default false. */
  readonly mask?: boolean | undefined;
  /** Type of the `bias` that calls pass. Default: they pass none. */
  readonly bias?: FloatDType | undefined;
  /** The mods that calls pass; instead of their tensors, types will do. Default: none. */
  readonly scoreMod?: PreparedMod | undefined;
  readonly maskMod?: PreparedMod | undefined;
  /** Where lengths, `cacheBatchIdx` and left padding are; `'gpu'` if any of them is a tensor. Default `'host'`. */
  readonly lengths?: 'host' | 'gpu' | undefined;
}

const NAMES = namesOf<PrepareModelOptions>({
  nHeads: true,
  nKvHeads: true,
  headDim: true,
  headDimV: true,
  valuesInKeys: true,
  dtype: true,
  kvDType: true,
  scaleDType: true,
  kvRotation: true,
  appends: true,
  newDType: true,
  paged: true,
  maxTokens: true,
  maxContext: true,
  rotary: true,
  positions: true,
  treeMask: true,
  rotarySections: true,
  returnLse: true,
  softcap: true,
  alibi: true,
  sinks: true,
  sharedPrefix: true,
  mask: true,
  bias: true,
  scoreMod: true,
  maskMod: true,
  lengths: true,
  windowSize: true,
  attentionChunk: true,
  firstKeys: true,
  numSplits: true,
  onProgress: true,
  signal: true,
  warmUp: true,
});

/**
 * Tests the device's subgroup matrices, if it has any, and compiles, in the background, exactly the kernels that serving a
 * model with `attnWithKvCache` can need: the planner is asked for all steps within `maxTokens` and `maxContext`. The number
 * of sequences, and whether calls are causal, make no difference. Tensors are assumed to be contiguous, or those of a
 * `PagedKvCache`.
 *
 * A window or chunks of attention only reduce the set of kernels: leave out what some of the layers do not have. Prepare
 * a model whose layers differ otherwise once for each kind.
 *
 * @throws PageflashError `argument` or `shape` for a wrong option; else what `runtime.prepare` throws
 * @example
 * await prepareModel(runtime, {
 *   ...model, dtype: 'f16', paged: true, rotary: true, maxTokens: 512, maxContext: 8192,
 *   onProgress: ({ done, total }) => (bar.value = done / total),
 * });
 */
export async function prepareModel(runtime: Runtime, options: PrepareModelOptions): Promise<void> {
  const call = Call.on(runtime, 'prepareModel');
  const served = servedModel(call, options);
  const { onProgress, signal, warmUp } = options;
  signal?.throwIfAborted();
  await nextTurn();
  const { candidate, fallback } = runtime;
  const without = await variantsOf(served, fallback, signal);
  const variants = candidate ? eitherWay(without, await variantsOf(served, candidate, signal)) : without;
  // Copy-on-write of shared pages; the pages of a PagedKvCache need only this variant.
  if (served.paged) variants.push(cachePagesVariant());
  await runtime.compile(call.name, variants, { onProgress, signal, warmUp });
}

/** The kernels of all steps, planned in as many turns of the event loop. */
async function variantsOf(
  served: Served,
  traits: DeviceTraits,
  signal: AbortSignal | undefined,
): Promise<Variant[]> {
  const variants: Variant[] = [];
  for (const step of servedSteps(served, traits)) {
    variants.push(...step.variants);
    await nextTurn();
    signal?.throwIfAborted();
  }
  return variants;
}

/** Checks the options and fills in their defaults. */
export function servedModel(call: Call, options: PrepareModelOptions): Served {
  const caller = call.name;
  checkNames(caller, options, NAMES, { alsoTaken: SHAPE_NAMES });
  checkPrepareOptions(caller, options);
  const { dtype, kvDType = dtype, newDType = dtype, paged, maxTokens, maxContext = UNLIMITED } = options;
  const {
    appends = true,
    rotary = false,
    returnLse = false,
    softcap = false,
    alibi = false,
    sinks = false,
    sharedPrefix = false,
    mask = false,
    lengths = 'host',
    positions = false,
    treeMask = false,
    rotarySections = false,
  } = options;
  const { numSplits = 0, nHeads, nKvHeads, headDim } = options;
  const { headDimV, valuesInKeys } = options;
  const shape = checkAttention(caller, { nHeads, nKvHeads, headDim, headDimV, valuesInKeys });
  checkHeadDims(caller, { headDim, headDimV: shape.headDimV });
  checkHeads(caller, { nHeads });
  checkTypes(caller, { dtype, newDType, bias: options.bias ?? dtype });
  checkCacheFormat(caller, { kvDType, scaleDType: options.scaleDType, headDim, headDimV: shape.headDimV });
  checkRotationOf(caller, { kvRotation: options.kvRotation, kvDType, ...shape });
  checkCounts(caller, { maxTokens, maxContext });
  checkCounts(caller, { numSplits }, 0);
  checkFlags(caller, { paged, appends, rotary, returnLse, softcap, sharedPrefix, mask, rotarySections });
  if (sharedPrefix && !paged) call.refuse('argument', 'sharedPrefix needs paged: only pages can be shared.');
  if (!appends && options.newDType !== undefined)
    call.refuse(
      'argument',
      'newDType is the type of what calls append, but appends is false. Leave one out.',
    );
  checkChoice(caller, 'alibi', alibi, [true, false, 'gpu']);
  checkChoice(caller, 'sinks', sinks, [true, false, 'gpu']);
  checkChoice(caller, 'lengths', lengths, ['host', 'gpu']);
  checkChoice(caller, 'positions', positions, [true, false, 'gpu']);
  checkChoice(caller, 'treeMask', treeMask, [true, false, 'gpu']);
  checkSectionsOf(caller, options);
  return {
    caller,
    ...shape,
    dtype,
    kvDType,
    scaleDType: options.scaleDType ?? DEFAULT_SCALE_DTYPE,
    turns: options.kvRotation !== undefined,
    newDType: appends ? newDType : null,
    paged,
    rotary,
    returnLse,
    tokens: {
      positions: whereabouts(positions),
      tree: whereabouts(treeMask),
      sections: rotarySections,
    },
    softcap,
    slopes: whereabouts(alibi),
    sinks: whereabouts(sinks),
    mask,
    bias: options.bias ?? null,
    mods: checkPreparedMods(call, options),
    lengths,
    masks: checkMasks(call, options),
    sharedPrefix,
    blocks: false,
    numSplits,
    maxTokens,
    maxContext: Math.min(maxContext, UNLIMITED),
  };
}

function whereabouts(given: boolean | 'gpu'): Whereabouts {
  if (given === 'gpu') return 'gpu';
  return given ? 'host' : null;
}
