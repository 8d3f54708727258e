import type { Dispatch } from '../core/dispatch.js';
import type { Spec } from '../wgsl/kernel.js';
import attnPrefillKernel from './attn_prefill.wgsl';
import {
  attentionConditions,
  attentionDispatch,
  offsetBytes,
  variableBytes,
  type AttentionFeatures,
  type AttentionWork,
  type CacheKind,
} from './shared/attention.js';

/** How a workgroup of attn_prefill divides its work; the constants of the kernel say more. */
export interface PrefillTile {
  /** Groups of invocations, each with its own rows. */
  readonly teams: number;
  /** Invocations of a team, a power of two. */
  readonly lanes: number;
  /** Rows of a team; a multiple of 4. */
  readonly rows: number;
  /** Quads of keys of a tile that an invocation owns; a power of two. */
  readonly keyQuads: number;
  /** Quads of the output that an invocation owns of each of its rows. */
  readonly cols: number;
  /** Quads of a head of q and k, a multiple of `sliceQuads`. */
  readonly headQuads: number;
  /** Quads of the keys that are staged together; even. */
  readonly sliceQuads: number;
  /** Values that are staged together: those of one or more lanes, of all in the end. */
  readonly valueKeys: number;
  /** Whether the queries of a tile stay in workgroup memory. */
  readonly qResident: boolean;
  /** Whether lanes exchange by subgroup operations. */
  readonly subgroups: boolean;
  /** Whether a team is a whole subgroup, which then shares queries and weights by broadcasts. */
  readonly broadcast: boolean;
  /** Whether tiles are kept as f16, only with `subgroups`; sums are f32 in any case. */
  readonly f16Tiles: boolean;
  /** Whether to keep the compiler from unrolling the loops that are not unrolled in the text. */
  readonly rolled: boolean;
}

export function prefillTileRows({ teams, rows }: Pick<PrefillTile, 'teams' | 'rows'>): number {
  return teams * rows;
}

export function prefillTileKeys({ lanes, keyQuads }: Pick<PrefillTile, 'lanes' | 'keyQuads'>): number {
  return 4 * lanes * keyQuads;
}

/** Bytes of workgroup memory that a tile takes: those of a variant with masks. */
export function prefillWorkgroupBytes(tile: PrefillTile, cache: CacheKind): number {
  const { teams, lanes, rows, cols, headQuads, sliceQuads, valueKeys } = tile;
  const { qResident, subgroups, broadcast, f16Tiles } = tile;
  const quadBytes = f16Tiles ? 8 : 16;
  const tileRows = prefillTileRows(tile);
  const keys = prefillTileKeys(tile);
  const queryQuads = qResident ? headQuads : sliceQuads;
  const weightQuads = broadcast ? 0 : valueKeys / 4;
  const numbers = subgroups ? 0 : (lanes * rows * teams) / 4;
  return variableBytes([
    (qResident ? queryQuads + weightQuads : Math.max(queryQuads, weightQuads)) * (tileRows + 1) * quadBytes,
    Math.max(sliceQuads * (keys + 1), valueKeys * cols * lanes, numbers) * quadBytes,
    tileRows * 4,
    tileRows * 8,
    16,
    ...(subgroups ? [4] : []),
    ...offsetBytes(keys, cache, 1),
  ]);
}

/** Attention of many query rows: a tile of rows in each workgroup. */
export function attnPrefillDispatch(work: AttentionWork, tile: PrefillTile): Dispatch {
  return attentionDispatch(attnPrefillKernel, work, tile, prefillSpec);
}

export function prefillSpec(tile: PrefillTile, features: AttentionFeatures, split: boolean): Spec {
  return {
    WG_SIZE: tile.teams * tile.lanes,
    TILE_KEYS: prefillTileKeys(tile),
    PREFETCH: false,
    TEAMS: tile.teams,
    LANES: tile.lanes,
    ROW_LANE_BITS: Math.log2(tile.lanes),
    ROWS: tile.rows,
    ROW_QUADS: tile.rows / 4,
    KEYS: 4 * tile.keyQuads,
    KEY_QUADS: tile.keyQuads,
    COLS: tile.cols,
    OWN_ROWS: Math.ceil(tile.rows / tile.lanes),
    HEAD_QUADS: tile.headQuads,
    SLICE_QUADS: tile.sliceQuads,
    VALUE_KEYS: tile.valueKeys,
    Q_RESIDENT: tile.qResident,
    SUBGROUPS: tile.subgroups,
    BROADCAST: tile.broadcast,
    F16_TILES: tile.f16Tiles,
    ROLLED: tile.rolled,
    ...attentionConditions(features, split),
    KEYS_ONCE: features.paged,
  };
}
