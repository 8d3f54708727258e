import { grid2d, type Dispatch } from '../core/dispatch.js';
import type { Tensor } from '../core/tensor.js';
import type { Spec } from '../wgsl/kernel.js';
import { Records } from '../wgsl/records.js';
import { structOf } from '../wgsl/reflection.js';
import attnWeightsKernel from './attn_weights.wgsl';
import {
  attentionConditions,
  attentionParams,
  featuresOf,
  offsetBytes,
  variableBytes,
  type AttentionFeatures,
  type AttentionWork,
  type CacheKind,
} from './shared/attention.js';
import { modsOf, withMods } from './shared/mods.js';
import { optionalBuffersOf, withBuffers } from './shared/optionalBuffers.js';

/** What a workgroup of attn_weights takes at a time. */
export interface WeightsTile {
  /** Heads that share a kv head; a power of two. */
  readonly heads: number;
  readonly keys: number;
}

/** Each invocation has four keys. */
const INVOCATIONS = 64;

/** More heads would not fit registers. */
const MAX_HEADS = 8;

/** Octets of the queries that a workgroup holds, at most: with the offsets of keys in pages they fit any device. */
const MAX_QUERY_OCTETS = 288;

/** @param group query heads that share a kv head */
export function weightsTile(group: number, headDim: number): WeightsTile {
  const most = Math.min(MAX_HEADS, MAX_QUERY_OCTETS / Math.ceil(headDim / 8));
  let heads = 1;
  while (heads < group && 2 * heads <= most) heads *= 2;
  return { heads, keys: 4 * INVOCATIONS };
}

/** Tiles of keys and of heads into which the weights of a row are divided, for each kv head. */
export function itemsOfRow(tile: WeightsTile, group: number, nKeys: number): number {
  return Math.ceil(nKeys / tile.keys) * Math.ceil(group / tile.heads);
}

/** A row of which the weights are asked for; see attn_weights.wgsl. */
export interface ChosenRow {
  /** Its number among the query tokens of all sequences. */
  readonly row: number;
  /** The sequence is one of these: first, and one past the last. */
  readonly sequences: readonly [number, number];
  /** The first element of its weights in their binding. */
  readonly weightsAt: number;
}

/** Packs rows as `ChosenRow` of attn_weights.wgsl. */
export function packChosenRows(rows: readonly ChosenRow[]): Uint32Array {
  const records = new Records(structOf(attnWeightsKernel, 'ChosenRow'), rows.length);
  rows.forEach(({ row, sequences, weightsAt }, i) =>
    records.set(i, {
      row,
      first_sequence: sequences[0],
      end_sequence: sequences[1],
      weights_at: weightsAt,
    }),
  );
  return records.words;
}

export interface AttnWeightsWork extends Pick<
  AttentionWork,
  'problem' | 'batchInfo' | 'rotatedQ' | 'range' | 'maxWorkgroupsPerDimension'
> {
  readonly weights: Tensor;
}

/**
 * The weights of chosen rows, from their lse. What `packChosenRows` returns is in `batchInfo`, in the place of items.
 * `problem` is that of attention whose values are the identity matrix: its `headDimV` is how many keys a row of the weights
 * has, and its `out` counts rows, from one head's weights to the next by `headStride`.
 */
export function attnWeightsDispatch(work: AttnWeightsWork): Dispatch {
  const { problem, batchInfo, rotatedQ, range, weights, maxWorkgroupsPerDimension } = work;
  const { nHeads, nKvHeads, headDim, q, k, lse } = problem;
  // The stand-in for values is as wide as keys.
  const features = featuresOf({ ...problem, headDimV: headDim });
  const { v_scale: _vScale, ...optional } = optionalBuffersOf(problem);
  const bindings = {
    q: rotatedQ ?? q.tensor,
    k: k.tensor,
    batch_info: batchInfo,
    weights,
    row_lse: lse!.tensor,
    ...optional,
  };
  return {
    kernel: withBuffers(withMods(attnWeightsKernel, modsOf(problem.mods)), bindings),
    spec: weightsSpec(weightsTile(nHeads / nKvHeads, headDim), headDim, features),
    params: attentionParams({ problem, range, parts: null, links: null }),
    bindings,
    grid: grid2d((range[1] - range[0]) * nKvHeads, maxWorkgroupsPerDimension),
  };
}

export function weightsSpec(
  { heads, keys }: WeightsTile,
  headDim: number,
  features: AttentionFeatures,
): Spec {
  return {
    WG_SIZE: INVOCATIONS,
    TILE_KEYS: keys,
    HEADS: heads,
    HEAD_OCTETS: Math.ceil(headDim / 8),
    ...attentionConditions({ ...features, outWide: false, lse: false }, false),
    // Weights of all tiles are written.
    SKIPS: false,
  };
}

/** Bytes of workgroup memory that a tile takes. */
export function weightsWorkgroupBytes(
  { heads, keys }: WeightsTile,
  headDim: number,
  cache: CacheKind,
): number {
  return variableBytes([heads * Math.ceil(headDim / 8) * 2 * 16, ...offsetBytes(keys, cache, 2)]);
}

export { attnWeightsKernel };
