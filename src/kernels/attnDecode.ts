import type { Dispatch } from '../core/dispatch.js';
import type { Spec } from '../wgsl/kernel.js';
import attnDecodeKernel from './attn_decode.wgsl';
import {
  attentionConditions,
  attentionDispatch,
  featuresOf,
  variableBytes,
  type AttentionFeatures,
  type AttentionWork,
} from './shared/attention.js';

/** How a workgroup of attn_decode divides its work; the header of the kernel says more. All are powers of two. */
export interface DecodeTile {
  readonly invocations: number;
  /** Rows of a workgroup. */
  readonly rows: number;
  /** Invocations that share the four keys of a score. */
  readonly keyLanes: number;
  /** Octets (eight elements) of a head of q and k, a multiple of `keyLanes`; no power of two. */
  readonly headOctets: number;
  /** Invocations that share a row of weights. */
  readonly rowLanes: number;
  /** Invocations that share the octets of a value. */
  readonly valueLanes: number;
  /** Octets of a value that each of them takes; no power of two. */
  readonly cols: number;
  /** Whether invocations exchange by subgroup operations. */
  readonly subgroups: boolean;
  /** The size of all subgroups, if their lanes share queries and weights by broadcasts (`keyLanes` is 1); else 0. */
  readonly broadcastLanes: number;
  /** Whether to keep the compiler from unrolling the loops that are not unrolled in the text. */
  readonly rolled: boolean;
}

export function decodeTileKeys({
  invocations,
  keyLanes,
}: Pick<DecodeTile, 'invocations' | 'keyLanes'>): number {
  return (invocations / keyLanes) * 4;
}

/** Bytes of workgroup memory that a tile takes. */
export function decodeWorkgroupBytes(tile: DecodeTile, paged: boolean): number {
  const { invocations, rows, keyLanes, headOctets, rowLanes, cols, subgroups } = tile;
  const keys = decodeTileKeys(tile);
  return variableBytes([
    Math.max(headOctets * rows * 2, invocations * cols * 2) * 16,
    (subgroups ? 1 : keyLanes) * rows * keys * 4,
    subgroups ? 4 : rows * rowLanes * 4,
    rows * 4,
    rows * 8,
    ...(paged ? [2 * keys * 4, 2 * keys * 4] : []),
  ]);
}

/** Attention of few query rows: a chunk of keys in each workgroup. */
export function attnDecodeDispatch(work: AttentionWork, tile: DecodeTile): Dispatch {
  const spec = decodeSpec(tile, featuresOf(work.problem), work.parts !== null);
  return attentionDispatch(attnDecodeKernel, spec, work);
}

export function decodeSpec(tile: DecodeTile, features: AttentionFeatures, split: boolean): Spec {
  const { invocations, rows, keyLanes, headOctets, rowLanes, valueLanes, cols, subgroups } = tile;
  const keys = decodeTileKeys(tile);
  return {
    WG_SIZE: invocations,
    TILE_KEYS: keys,
    ROWS: rows,
    KEY_LANES: keyLanes,
    KEY_LANE_BITS: Math.log2(keyLanes),
    HEAD_OCTETS: headOctets,
    ROW_LANES: rowLanes,
    ROW_LANE_BITS: Math.log2(rowLanes),
    LANE_QUADS: keys / 4 / rowLanes,
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
