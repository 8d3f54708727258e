import type { Dispatch } from '../core/dispatch.js';
import { hasScales, type KvDType } from '../core/dtype.js';
import type { Spec } from '../wgsl/kernel.js';
import attnDecodeKernel from './attn_decode.wgsl';
import {
  attentionConditions,
  attentionDispatch,
  mostKeyRun,
  variableBytes,
  type AttentionFeatures,
  type AttentionWork,
  type CacheKind,
} from './shared/attention.js';

/** How a workgroup of attn_decode divides its work; the header of the kernel says more. All are powers of two. */
export interface DecodeTile {
  readonly invocations: number;
  /** Rows of a workgroup. */
  readonly rows: number;
  /** Invocations that share the four keys of a score: one, or at least as many as rows. */
  readonly keyLanes: number;
  /** Octets (eight elements) of a head of q and k, a multiple of `keyLanes`; no power of two. */
  readonly headOctets: number;
  /** Neighbours of one row that find a maximum by subgroup operations, each for its four keys. */
  readonly quadLanes: number;
  /** Invocations that share the octets of a value. */
  readonly valueLanes: number;
  /** Octets of a value that each of them takes; no power of two. */
  readonly cols: number;
  /** Rows whose sums are in workgroup memory at a time, to be written. */
  readonly turnRows: number;
  /** Whether keys and values are loaded ahead, where 16 bytes can be loaded at once. */
  readonly prefetch: boolean;
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

/** Turns in which the groups of invocations take a tile's keys, four each. */
export function decodeValueSteps(tile: Pick<DecodeTile, 'invocations' | 'keyLanes' | 'valueLanes'>): number {
  return (decodeTileKeys(tile) * tile.valueLanes) / (4 * tile.invocations);
}

/** Rows for which the weights of four keys have a place: every invocation has one of its own, even if it repeats a row. */
function lineRows({ keyLanes, rows }: DecodeTile): number {
  return keyLanes > 1 ? keyLanes : rows;
}

/** Groups of 32 elements, whose scales an i4 cache has, that octets of a head belong to. */
function scaleGroups(octets: number, dtype: KvDType): number {
  return dtype === 'i4' ? Math.ceil(octets / 4) : 1;
}

/** Bytes of workgroup memory that a tile takes, at most: less where keys cannot be loaded ahead. */
export function decodeWorkgroupBytes(tile: DecodeTile, cache: CacheKind): number {
  const { invocations, rows, keyLanes, headOctets, cols, turnRows, subgroups } = tile;
  const { paged, kvDType } = cache;
  const keys = decodeTileKeys(tile);
  const weights = (lineRows(tile) * keys) / 4;
  const offsets = tile.prefetch ? Math.max(keys, invocations) : keys;
  return variableBytes([
    Math.max(headOctets * rows * 2, turnRows * cols * invocations * 2) * 16,
    weights * 16,
    subgroups || keyLanes === 1 ? 0 : rows * invocations * 16,
    weights * 4,
    keyLanes === 1 ? 0 : weights * 4,
    lineRows(tile) * 4,
    ...(subgroups ? [4] : []),
    ...(hasScales(kvDType)
      ? [headOctets, tile.valueLanes * cols].map((octets) => scaleGroups(octets, kvDType) * offsets * 4)
      : []),
    ...(paged ? [2 * offsets * 4, 2 * offsets * 4] : []),
  ]);
}

/** Attention of few query rows: a chunk of keys in each workgroup. */
export function attnDecodeDispatch(work: AttentionWork, tile: DecodeTile): Dispatch {
  return attentionDispatch(attnDecodeKernel, work, tile, decodeSpec);
}

export function decodeSpec(tile: DecodeTile, features: AttentionFeatures, split: boolean): Spec {
  const { rows, keyLanes, headOctets, quadLanes, broadcastLanes, subgroups } = tile;
  const isShared = keyLanes > 1;
  const { kvDType } = features;
  const prefetch = tile.prefetch && features.kvWide;
  const keyRun = prefetch ? Math.min(features.keyRun, decodeKeyRun(tile, kvDType)) : 1;
  return {
    ...attentionConditions(features, split, keyRun),
    WG_SIZE: tile.invocations,
    TILE_KEYS: decodeTileKeys(tile),
    ROWS: rows,
    ROW_PAIRS: Math.ceil(rows / 2),
    ROW_QUADS: Math.ceil(rows / 4),
    LANE_ROWS: isShared ? 1 : rows,
    LINE_ROWS: lineRows(tile),
    LANE_PARTS: decodeTileKeys(tile) / 4 / quadLanes,
    KEY_LANES: keyLanes,
    KEY_LANE_BITS: Math.log2(keyLanes),
    QUAD_LANES: quadLanes,
    ROW_LANE_BITS: Math.log2(quadLanes),
    HEAD_OCTETS: headOctets,
    OCTETS: headOctets / keyLanes,
    VALUE_LANES: tile.valueLanes,
    VALUE_STEPS: decodeValueSteps(tile),
    COLS: tile.cols,
    TURN_ROWS: tile.turnRows,
    K_RUN: keyRun,
    RUNS: headOctets / keyLanes / keyRun,
    K_GROUPS: scaleGroups(headOctets, kvDType),
    V_GROUPS: scaleGroups(tile.valueLanes * tile.cols, kvDType),
    // Scales are asked for a tile at a time, by slots.
    SCALE_OFFSETS: false,
    PREFETCH: prefetch,
    KEY_SHARED: isShared,
    // A CPU whose registers hold four numbers has too few for long chains.
    SHORT_CHAINS: rows === 1 || (tile.rolled && broadcastLanes <= 4),
    SUBGROUPS: subgroups,
    BROADCAST: broadcastLanes > 0,
    LANES: broadcastLanes,
    OWN_ROWS: broadcastLanes > 0 ? Math.ceil(rows / broadcastLanes) : 0,
    ROLLED: tile.rolled,
  };
}

/** Octets of a quantised key that a lane takes at a time: neighbours, as many as 16 bytes have and its share divides into. */
function decodeKeyRun({ headOctets, keyLanes }: DecodeTile, dtype: KvDType): number {
  let run = mostKeyRun(dtype);
  while ((headOctets / keyLanes) % run !== 0) run /= 2;
  return run;
}

export { attnDecodeKernel };
