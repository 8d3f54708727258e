import { checkSectionsOf, NO_TOKENS, servedProblem } from '../attention/servedSteps.js';
import { checkHeadDims, checkHeads, checkTypes } from '../check/checkModel.js';
import { checkChoice, checkCounts, checkFlags } from '../core/checkArguments.js';
import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Spec } from '../wgsl/kernel.js';
import { bytesPerElement, QUANTISED, type FloatDType, type QuantisedDType } from '../core/dtype.js';
import { checkCacheFormat, checkRotationOf } from '../core/checkCacheFormat.js';
import { fail } from '../core/errors.js';
import { DEFAULT_SCALE_DTYPE } from '../core/kvFormats.js';
import { accessesOf, appendSpec, octetsOf, rotatedQScratch } from '../kernels/appendKv.js';
import {
  appendQuantisedSpec,
  quantisedHeadsPerWorkgroup,
  quantisedWorkgroupBytes,
} from '../kernels/appendQuantised.js';
import { featuresOf, type AttentionFeatures } from '../kernels/shared/attention.js';
import { MAX_HEAD_DIM_V, NO_MASKS, type AttentionProblem } from '../problem/attentionProblem.js';
import { decodeSpec, decodeTileKeys, decodeWorkgroupBytes } from '../kernels/attnDecode.js';
import {
  prefillSpec,
  prefillTileKeys,
  prefillTileRows,
  prefillWorkgroupBytes,
} from '../kernels/attnPrefill.js';
import { weightsSpec, weightsTile, weightsWorkgroupBytes } from '../kernels/attnWeights.js';
import { copyPagesSpec } from '../kernels/copyPages.js';
import { MERGE_KINDS, mergeSpec, mergeTile, readsChunks } from '../kernels/mergeStates.js';
import { hasMultiplesOf, wideElements } from '../kernels/shared/elements.js';
import { isDecode } from '../plan/attentionWork.js';
import { decodeTile } from '../plan/decodeTile.js';
import { prefillTile } from '../plan/prefillTile.js';
import type {
  AttnDecodeOptions,
  AttnPrefillOptions,
  AttnWeightsOptions,
  KernelName,
  OptionsOf,
} from './options.js';

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

type Choose<Name extends KernelName> = (
  caller: string,
  options: OptionsOf<Name>,
  traits: DeviceTraits,
) => Choice;

/** By kernel, how its variant is chosen; options are checked on the way. */
export const CHOICES: { readonly [Name in KernelName]: Choose<Name> } = {
  attn_prefill(caller, options, traits) {
    const { problem, features, split } = attentionOf(caller, options);
    const tile = prefillTile(traits, { ...problem, ...features }, caller);
    return {
      spec: prefillSpec(tile, features, split),
      tile: { rows: prefillTileRows(tile), keys: prefillTileKeys(tile) },
      workgroupBytes: prefillWorkgroupBytes(tile, features),
      stored: attentionTensors(features, split),
    };
  },

  attn_decode(caller, options, traits) {
    const { problem, features, split } = attentionOf(caller, options);
    const { group = 1, tokens = 1 } = options;
    checkCounts(caller, { group, tokens });
    checkHeads(caller, { group });
    const nRows = group * tokens;
    if (!isDecode(tokens, nRows, problem.headDim))
      fail(
        'argument',
        caller,
        `attn_decode takes few rows, not ${tokens} tokens of ${group} heads. Ask for attn_prefill.`,
      );
    const tile = decodeTile(traits, { ...problem, ...features, nRows }, caller);
    return {
      spec: decodeSpec(tile, features, split),
      tile: { rows: tile.rows, keys: decodeTileKeys(tile) },
      workgroupBytes: decodeWorkgroupBytes(tile, features),
      stored: attentionTensors(features, split),
    };
  },

  attn_weights(caller, options) {
    const { headDim, group = 1 } = options;
    checkCounts(caller, { group });
    checkHeads(caller, { group });
    const { features } = attentionOf(caller, options);
    const tile = weightsTile(group, headDim);
    const { q, k, bias } = attentionTensors(features, false);
    return {
      spec: weightsSpec(tile, headDim, features),
      tile: { rows: tile.heads, keys: tile.keys },
      workgroupBytes: weightsWorkgroupBytes(tile, headDim, features),
      stored: { q: q!, k: k!, row_lse: rows('f32'), weights: rows('f32'), ...(bias && { bias }) },
    };
  },

  append_kv(caller, options) {
    const { dtype, kvDType = dtype, qDType = dtype, unaligned = false } = options;
    const { paged = false, rotary = false, queries = false, appends = !queries } = options;
    checkTypes(caller, { dtype, qDType });
    const problem = problemOf(caller, { ...options, dtype: qDType, kvDType }, dtype);
    const { positions = false, rotarySections = false } = options;
    checkFlags(caller, { rotary, queries, appends, unaligned, positions, rotarySections });
    if (positions && !rotary)
      fail('argument', caller, 'positions of tokens are what heads are rotated by: pass rotary: true, too.');
    checkSectionsOf(caller, options);
    const alone = queries && !appends;
    if (queries && (!rotary || (alone && (paged || kvDType !== dtype))))
      fail(
        'argument',
        caller,
        'queries are rotated to memory that is laid out like q: pass rotary: true, and neither paged nor another kvDType.',
      );
    if (!queries && !appends)
      fail('argument', caller, 'there is nothing to do: pass appends: true, queries: true or both.');
    const { newK, newV } = problem.append!;
    const writes = {
      newK: appends ? newK : null,
      newV: appends ? newV : null,
      rotatedQ: queries ? rotatedQScratch(problem) : null,
    };
    const accesses = unaligned ? { wide: false, wholeWords: false } : accessesOf(problem, writes);
    const { wide, wholeWords } = accesses;
    const aligned = (type: FloatDType, words = false): Stored =>
      rows(type, wide ? wideElements(type) : words && bytesPerElement(type) === 2 ? 2 : 1);
    return {
      spec: appendSpec({ appends, queries, rotary, paged, positions, sections: rotarySections, ...accesses }),
      stored: {
        q: aligned(qDType, wholeWords),
        new_k: aligned(dtype),
        new_v: aligned(dtype),
        k_cache: aligned(kvDType, wholeWords),
        v_cache: aligned(kvDType, wholeWords),
        rotated_q: aligned(qDType, wholeWords),
      },
      ...NO_TILE,
    };
  },

  append_quantised(caller, options) {
    const { headDim, dtype, kvDType, scaleDType, side = 'keys', unaligned = false } = options;
    const { paged = false, rotary = false, positions = false, rotarySections = false, kvRotation } = options;
    checkCounts(caller, { headDim });
    checkHeadDims(caller, { headDim, headDimV: Math.min(headDim, MAX_HEAD_DIM_V) });
    checkTypes(caller, { dtype });
    checkChoice(caller, 'kvDType', kvDType, QUANTISED);
    checkCacheFormat(caller, { kvDType, scaleDType, headDim, headDimV: headDim });
    checkRotationOf(caller, { kvRotation, kvDType, headDim, headDimV: headDim });
    checkChoice(caller, 'side', side, ['keys', 'values']);
    checkFlags(caller, { paged, rotary, positions, rotarySections, unaligned });
    if (rotary && side === 'values')
      fail('argument', caller, 'values are not rotated: leave rotary out, or ask for keys.');
    if (positions && !rotary)
      fail('argument', caller, 'positions of tokens are what heads are rotated by: pass rotary: true, too.');
    checkSectionsOf(caller, options);
    const isWide = !unaligned && headDim % wideElements(dtype) === 0;
    const perWord = 4 / bytesPerElement(kvDType);
    const isWhole = !unaligned && headDim % perWord === 0;
    const spec = appendQuantisedSpec({
      side: side === 'keys' ? 'k' : 'v',
      dtype: kvDType,
      scaleDType: scaleDType ?? DEFAULT_SCALE_DTYPE,
      headDim,
      rotary,
      positions,
      sections: rotarySections,
      turned: kvRotation !== undefined,
      paged,
      wide: isWide,
      wholeWords: isWhole,
    });
    const fresh = rows(dtype, isWide ? wideElements(dtype) : 1);
    const scales = rows(kvDType === 'e4m3' ? 'f32' : (scaleDType ?? DEFAULT_SCALE_DTYPE));
    return {
      spec,
      tile: null,
      workgroupBytes: quantisedWorkgroupBytes(spec),
      stored: {
        new_k: fresh,
        new_v: fresh,
        // Quantised caches begin with a whole word.
        codes: { dtype: kvDType, alignment: isWhole ? 4 : Math.max(1, bytesPerElement(kvDType)) },
        scales,
        head_scales: scales,
      },
      // Whole heads.
      jobsPerWorkgroup: quantisedHeadsPerWorkgroup(spec) * octetsOf(headDim),
    };
  },

  merge_states(caller, options, traits) {
    const { headDim, dtype, parts = 'chunks', unaligned = false } = options;
    const { out } = problemOf(caller, options);
    checkFlags(caller, { unaligned });
    checkChoice(caller, 'parts', parts, MERGE_KINDS);
    const outWide = !unaligned && hasMultiplesOf(4, out, headDim);
    const wide = readsChunks(parts) || (!unaligned && hasMultiplesOf(8, out, headDim));
    const spec = mergeSpec(mergeTile(traits, parts), { kind: parts, wide, outDType: dtype, outWide });
    const read = readsChunks(parts) ? rows('f32', 4) : { alignment: wide ? 16 : 2 };
    const written = { out: rows(dtype, outWide ? 4 : 1), lse: rows('f32') };
    return { spec, stored: { a_out: read, b_out: read, ...written }, ...NO_TILE };
  },

  copy_pages(caller, { unaligned = false }) {
    checkFlags(caller, { unaligned });
    return {
      spec: copyPagesSpec(!unaligned),
      stored: { memory: { alignment: unaligned ? 4 : 16 } },
      ...NO_TILE,
    };
  },

  gather_lengths: () => ({ spec: {}, stored: {}, ...NO_TILE }),
  gather_heads: () => ({ spec: {}, stored: {}, ...NO_TILE }),
  gather_tokens: () => ({ spec: {}, stored: {}, ...NO_TILE }),
};

const NO_TILE = { tile: null, workgroupBytes: 0 } as const;

/** The options that a problem of contiguous tensors has. */
type Shape = Pick<
  AttnPrefillOptions,
  'headDim' | 'headDimV' | 'dtype' | 'kvDType' | 'paged' | 'softcap' | 'alibi' | 'firstKeys' | 'mask' | 'bias'
>;

function problemOf(caller: string, shape: Shape, newDType: FloatDType | null = null): AttentionProblem {
  const { headDim, headDimV = headDim, dtype, kvDType = dtype } = shape;
  const { paged = false, softcap = false, alibi = false, firstKeys = false } = shape;
  const { mask = false, bias = dtype } = shape;
  checkCounts(caller, { headDim, headDimV });
  checkHeadDims(caller, { headDim, headDimV });
  checkTypes(caller, { dtype, kvDType, bias });
  checkFlags(caller, { paged, softcap, alibi, firstKeys, mask });
  return servedProblem({
    caller,
    nHeads: 1,
    nKvHeads: 1,
    headDim,
    headDimV,
    dtype,
    kvDType,
    scaleDType: DEFAULT_SCALE_DTYPE,
    newDType,
    paged,
    rotary: false,
    returnLse: false,
    tokens: NO_TOKENS,
    softcap,
    slopes: alibi ? 'host' : null,
    sinks: null,
    mask,
    blocks: false,
    bias: shape.bias ?? null,
    mods: null,
    masks: firstKeys ? { ...NO_MASKS, firstKeys: 1 } : NO_MASKS,
    numSplits: 0,
  });
}

/** The options of how results are written. */
type WrittenOptions = Pick<AttnPrefillOptions, 'split' | 'returnLse' | 'unaligned'>;

interface Attention {
  readonly problem: AttentionProblem;
  readonly features: AttentionFeatures;
  readonly split: boolean;
}

function attentionOf(
  caller: string,
  options: AttnPrefillOptions | AttnDecodeOptions | AttnWeightsOptions,
): Attention {
  const { split = false, returnLse = false, unaligned = false }: WrittenOptions = options;
  const problem = problemOf(caller, options);
  checkFlags(caller, { split, returnLse, unaligned });
  const { positions = false, treeMask = false } = options;
  checkFlags(caller, { positions, treeMask });
  const features = { ...featuresOf(problem), lse: returnLse, positions, tree: treeMask };
  const { bias } = features;
  const narrow = {
    qWide: false,
    kvWide: false,
    outWide: false,
    outOctets: false,
    bias: bias && { ...bias, wide: false },
  };
  return { problem, features: unaligned ? { ...features, ...narrow } : features, split };
}

/** Rows that begin at multiples of so many elements. */
function rows(dtype: FloatDType, elements = 1): Stored {
  return { dtype, alignment: elements * bytesPerElement(dtype) };
}

function attentionTensors(
  { qDType, kvDType, qWide, kvWide, outWide, bias }: AttentionFeatures,
  split: boolean,
): Choice['stored'] {
  const keys = rows(kvDType as FloatDType, kvWide ? wideElements(kvDType as FloatDType) : 1);
  return {
    q: rows(qDType, qWide ? wideElements(qDType) : 1),
    k: keys,
    v: keys,
    out: split ? rows('f32', 4) : rows(qDType, outWide ? 4 : 1),
    lse: rows('f32'),
    ...(bias && { bias: rows(bias.dtype, bias.wide ? 4 : 1) }),
  };
}
