import type { Dispatch } from '../core/dispatch.js';
import type { Spec } from '../wgsl/kernel.js';
import {
  attentionConditions,
  attentionDispatch,
  featuresOf,
  type AttentionFeatures,
  type AttentionWork,
} from './shared/attention.js';
import attnDecodeKernel from './attn_decode.wgsl';
import { variableBytes } from './shared/workgroupMemory.js';

/** How a workgroup of attn_decode divides its work; the header of the kernel says more. All are powers of two. */
export interface DecodeTile {
  readonly threads: number;
  /** Rows of a workgroup. */
  readonly rows: number;
  /** Threads that share the four keys of a score. */
  readonly parts: number;
  /** Units (eight elements) of a head of q and k, a multiple of `parts`; no power of two. */
  readonly headUnits: number;
  /** Threads that share a row of weights. */
  readonly maxLanes: number;
  /** Threads that share the units of a value. */
  readonly valueLanes: number;
  /** Units of a value that each of them has; no power of two. */
  readonly cols: number;
  /** Whether threads exchange by subgroup operations. */
  readonly subgroups: boolean;
  /** The size of all subgroups, if their lanes share queries and weights by broadcasts (`parts` is 1); else 0. */
  readonly broadcastLanes: number;
  /** Whether to keep the compiler from unrolling the loops that are not unrolled in the text. */
  readonly rolled: boolean;
}

export function decodeTileKeys({ threads, parts }: Pick<DecodeTile, 'threads' | 'parts'>): number {
  return (threads / parts) * 4;
}

/** Bytes of workgroup memory that a tile takes. */
export function decodeWorkgroupBytes(tile: DecodeTile, paged: boolean): number {
  const { threads, rows, parts, headUnits, maxLanes, cols, subgroups } = tile;
  const keys = decodeTileKeys(tile);
  return variableBytes([
    Math.max(headUnits * rows * 2, threads * cols * 2) * 16,
    (subgroups ? 1 : parts) * rows * keys * 4,
    subgroups ? 4 : rows * maxLanes * 4,
    rows * 4,
    rows * 8,
    ...(paged ? [2 * keys * 4, 2 * keys * 4] : []),
  ]);
}

/** Attention of few query rows: a chunk of keys in each workgroup. */
export function attnDecode(work: AttentionWork, tile: DecodeTile): Dispatch {
  const spec = decodeSpec(tile, featuresOf(work.problem), work.parts !== null);
  return attentionDispatch(attnDecodeKernel, spec, work);
}

export function decodeSpec(tile: DecodeTile, features: AttentionFeatures, split: boolean): Spec {
  const { threads, rows, parts, headUnits, maxLanes, valueLanes, cols, subgroups } = tile;
  const keys = decodeTileKeys(tile);
  return {
    WG_SIZE: threads,
    TILE_KEYS: keys,
    ROWS: rows,
    PARTS: parts,
    PART_BITS: Math.log2(parts),
    HEAD_UNITS: headUnits,
    MAX_LANES: maxLanes,
    MAX_BITS: Math.log2(maxLanes),
    LANE_QUADS: keys / 4 / maxLanes,
    VALUE_LANES: valueLanes,
    COLS: cols,
    SUBGROUPS: subgroups,
    BROADCAST: tile.broadcastLanes > 0,
    LANES: tile.broadcastLanes,
    OWN_ROWS: tile.broadcastLanes > 0 ? Math.ceil(rows / tile.broadcastLanes) : 0,
    ROLLED: tile.rolled,
    ...attentionConditions(features, split),
  };
}

export { attnDecodeKernel };
