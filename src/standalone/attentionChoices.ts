import { NO_TOKENS, servedProblem } from '../attention/servedSteps.js';
import { checkHeadDims, checkHeads, checkTypes } from '../check/checkModel.js';
import { checkCounts, checkFlags } from '../core/checkArguments.js';
import { checkCacheFormat } from '../core/checkCacheFormat.js';
import { bytesPerElement, isQuantised, type FloatDType, type KvDType } from '../core/dtype.js';
import { fail } from '../core/errors.js';
import { DEFAULT_SCALE_DTYPE } from '../core/kvFormats.js';
import { decodeSpec, decodeTileKeys, decodeWorkgroupBytes } from '../kernels/attnDecode.js';
import {
  prefillSpec,
  prefillTileKeys,
  prefillTileRows,
  prefillWorkgroupBytes,
} from '../kernels/attnPrefill.js';
import { weightsSpec, weightsTile, weightsWorkgroupBytes } from '../kernels/attnWeights.js';
import { featuresOf, type AttentionFeatures } from '../kernels/shared/attention.js';
import { wideElements } from '../kernels/shared/elements.js';
import { isDecode } from '../plan/attentionWork.js';
import { decodeTile } from '../plan/decodeTile.js';
import { prefillTile } from '../plan/prefillTile.js';
import { NO_MASKS, type AttentionProblem } from '../problem/attentionProblem.js';
import { rows, type Choice, type Choices, type Stored } from './choice.js';
import type { AttnDecodeOptions, AttnPrefillOptions, AttnWeightsOptions } from './options.js';

/** Kernels that compute scores. */
export const ATTENTION_CHOICES: Choices<'attn_prefill' | 'attn_decode' | 'attn_weights'> = {
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
    const { q, k, k_scale, bias } = attentionTensors(features, false);
    return {
      spec: weightsSpec(tile, headDim, features),
      tile: { rows: tile.heads, keys: tile.keys },
      workgroupBytes: weightsWorkgroupBytes(tile, headDim, features),
      stored: {
        q: q!,
        k: k!,
        row_lse: rows('f32'),
        weights: rows('f32'),
        ...(k_scale && { k_scale }),
        ...(bias && { bias }),
      },
    };
  },
};

/** The options that a problem of contiguous tensors has. */
type Shape = Pick<
  AttnPrefillOptions,
  | 'headDim'
  | 'headDimV'
  | 'dtype'
  | 'kvDType'
  | 'scaleDType'
  | 'paged'
  | 'softcap'
  | 'alibi'
  | 'firstKeys'
  | 'mask'
  | 'bias'
>;

export function problemOf(
  caller: string,
  shape: Shape,
  newDType: FloatDType | null = null,
): AttentionProblem {
  const { headDim, headDimV = headDim, dtype, kvDType = dtype } = shape;
  const { paged = false, softcap = false, alibi = false, firstKeys = false } = shape;
  const { mask = false, bias = dtype, scaleDType } = shape;
  checkCounts(caller, { headDim, headDimV });
  checkHeadDims(caller, { headDim, headDimV });
  checkTypes(caller, { dtype, bias });
  checkCacheFormat(caller, { kvDType, scaleDType, headDim, headDimV });
  checkFlags(caller, { paged, softcap, alibi, firstKeys, mask });
  return servedProblem({
    caller,
    nHeads: 1,
    nKvHeads: 1,
    headDim,
    headDimV,
    dtype,
    kvDType,
    scaleDType: scaleDType ?? DEFAULT_SCALE_DTYPE,
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

/** Rows of a cache, of which so many octets (eight elements) are read at a time if they are `wide`. */
function cacheRows(dtype: KvDType, wide: boolean, octets: number): Stored {
  if (!isQuantised(dtype)) return rows(dtype, wide ? wideElements(dtype) : 1);
  const bytes = bytesPerElement(dtype);
  return { dtype, alignment: wide ? octets * 8 * bytes : Math.max(1, bytes) };
}

function attentionTensors(
  { qDType, kvDType, scaleDType, qWide, kvWide, keyRun, outWide, bias }: AttentionFeatures,
  split: boolean,
): Choice['stored'] {
  const scales = scaleDType && rows(scaleDType);
  return {
    q: rows(qDType, qWide ? wideElements(qDType) : 1),
    k: cacheRows(kvDType, kvWide, keyRun),
    v: cacheRows(kvDType, kvWide, 1),
    ...(scales && { k_scale: scales, v_scale: scales }),
    out: split ? rows('f32', 4) : rows(qDType, outWide ? 4 : 1),
    lse: rows('f32'),
    ...(bias && { bias: rows(bias.dtype, bias.wide ? 4 : 1) }),
  };
}
