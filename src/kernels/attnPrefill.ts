import type { Dispatch, Scratch } from '../core/dispatch.js';
import { bytesPerElement, type FloatDType } from '../core/dtype.js';
import { grid2d } from '../core/grid.js';
import { windowOf } from '../core/tensorWindow.js';
import attnPrefillKernel from './attn_prefill.wgsl';
import type { AttentionProblem, PagedRows, TokenRows } from './attentionProblem.js';
import { tablesLayout } from './attnTables.js';

/** How a workgroup of attn_prefill divides its work; the constants of the kernel say more. */
export interface PrefillTile {
  /** Groups of threads, each with its own rows. */
  readonly teams: number;
  /** Threads of a team, a power of two; each owns four keys of a tile. */
  readonly lanes: number;
  /** Rows of a team. */
  readonly rows: number;
  /** Quads of the output that a thread owns of each of its rows. */
  readonly cols: number;
  /** Quads of a head of q and k, a multiple of `chunkQuads`. */
  readonly headQuads: number;
  /** Quads of the keys that are staged together; even. */
  readonly chunkQuads: number;
  /** Values that are staged together; a multiple of 4 that divides the keys of a tile. */
  readonly valueKeys: number;
  /** Whether the queries of a tile stay in workgroup memory. */
  readonly qResident: boolean;
  /** Whether lanes exchange by subgroup operations. */
  readonly subgroups: boolean;
  /** Whether a team is a whole subgroup, which then shares queries and weights by broadcasts. */
  readonly broadcast: boolean;
  /** Whether tiles are kept as f16; sums are f32 in any case. */
  readonly f16Tiles: boolean;
  /** Whether to keep the compiler from unrolling the loops that are not unrolled in the text. */
  readonly rolled: boolean;
}

export interface AttnPrefillArgs {
  readonly problem: AttentionProblem;
  readonly tile: PrefillTile;
  readonly tables: Uint32Array | Scratch;
  /** (sequence, row tile) pairs. */
  readonly items: Uint32Array;
  /** Which of the items this dispatch takes: first, and one past the last. */
  readonly range: readonly [number, number];
  readonly maxWorkgroupsPerDimension: number;
}

export function tileRows({ teams, rows }: Pick<PrefillTile, 'teams' | 'rows'>): number {
  return teams * rows;
}

export function tileKeys({ lanes }: Pick<PrefillTile, 'lanes'>): number {
  return 4 * lanes;
}

/** Bytes of workgroup memory that a tile takes. */
export function workgroupBytes(tile: PrefillTile, paged: boolean): number {
  const { lanes, cols, headQuads, chunkQuads, valueKeys, qResident, subgroups, broadcast, f16Tiles } = tile;
  const quadBytes = f16Tiles ? 8 : 16;
  const line = tileRows(tile) + 1;
  const queries = (qResident ? headQuads : chunkQuads) * line;
  const keysOrValues = Math.max(chunkQuads * (tileKeys(tile) + 1), valueKeys * cols * lanes);
  const weights = broadcast ? 0 : lanes * line;
  const exchange = subgroups ? 4 : lanes * line * 4;
  const rowOffsets = paged ? 4 * tileKeys(tile) * 4 : 0;
  return (queries + keysOrValues + weights) * quadBytes + exchange + rowOffsets;
}

/** Attention of many query rows: a tile of rows in each workgroup. */
export function attnPrefill(args: AttnPrefillArgs): Dispatch {
  const { problem, tile, tables, items, range, maxWorkgroupsPerDimension } = args;
  const { q, k, v, out, lse, pages, masks, slopes, sinks, softcap, softmaxScale } = problem;
  const { slopesAt, slopesSequence, sinksAt } = tablesLayout(problem);
  return {
    kernel: attnPrefillKernel,
    spec: prefillSpec(tile, {
      qDType: q.tensor.dtype as FloatDType,
      kvDType: k.tensor.dtype as FloatDType,
      qWide: isWide(q, problem.headDim),
      kvWide: isWide(k, problem.headDim) && isWide(v, problem.headDimV),
      outWide: hasMultiplesOf(4, out, problem.headDimV),
      paged: pages !== null,
      softcap: softcap > 0,
      alibi: slopes !== null,
    }),
    params: {
      first_item: range[0],
      n_items: range[1],
      n_kv_heads: problem.nKvHeads,
      group: problem.nHeads / problem.nKvHeads,
      head_dim: problem.headDim,
      head_dim_v: problem.headDimV,
      q_token: q.token,
      q_head: q.head,
      k_page: k.page,
      k_token: k.token,
      k_head: k.head,
      v_page: v.page,
      v_token: v.token,
      v_head: v.head,
      out_token: out.token,
      out_head: out.head,
      lse_token: lse?.token ?? 0,
      lse_head: lse?.head ?? 0,
      page_size: pages?.pageSize ?? 1,
      n_pages: pages?.nPages ?? 0,
      window_left: masks.left,
      window_right: masks.right,
      attention_chunk: masks.attentionChunk,
      score_scale: softcap > 0 ? softmaxScale / softcap : softmaxScale * Math.LOG2E,
      softcap_log2: softcap * Math.LOG2E,
      slopes_at: slopesAt,
      slopes_sequence: slopesSequence,
      sinks_at: sinksAt,
      has_sinks: sinks ? 1 : 0,
      has_lse: lse ? 1 : 0,
    },
    bindings: {
      q: q.tensor,
      k: k.tensor,
      v: v.tensor,
      tables,
      items,
      block_table: pages?.table ?? null,
      out: out.tensor,
      lse: lse?.tensor ?? null,
    },
    grid: grid2d((range[1] - range[0]) * problem.nKvHeads, maxWorkgroupsPerDimension),
  };
}

export interface PrefillFeatures {
  readonly qDType: FloatDType;
  readonly kvDType: FloatDType;
  /** Whether q can be read 16 bytes at a time. */
  readonly qWide: boolean;
  readonly kvWide: boolean;
  /** Whether out can be written four elements at a time. */
  readonly outWide: boolean;
  readonly paged: boolean;
  readonly softcap: boolean;
  readonly alibi: boolean;
}

export function prefillSpec(tile: PrefillTile, features: PrefillFeatures) {
  const { qDType, kvDType, qWide, kvWide, outWide, paged, softcap, alibi } = features;
  return {
    TEAMS: tile.teams,
    LANES: tile.lanes,
    LANE_BITS: Math.log2(tile.lanes),
    ROWS: tile.rows,
    COLS: tile.cols,
    OWN_ROWS: Math.ceil(tile.rows / tile.lanes),
    HEAD_QUADS: tile.headQuads,
    CHUNK_QUADS: tile.chunkQuads,
    VALUE_KEYS: tile.valueKeys,
    Q_RESIDENT: tile.qResident,
    SUBGROUPS: tile.subgroups,
    BROADCAST: tile.broadcast,
    F16_TILES: tile.f16Tiles,
    ROLLED: tile.rolled,
    Q_F16: qDType === 'f16',
    Q_BF16: qDType === 'bf16',
    Q_HALVES: qDType !== 'f32',
    KV_F16: kvDType === 'f16',
    KV_BF16: kvDType === 'bf16',
    KV_HALVES: kvDType !== 'f32',
    Q_WIDE: qWide,
    KV_WIDE: kvWide,
    OUT_WIDE: outWide,
    PAGED: paged,
    SOFTCAP: softcap,
    ALIBI: alibi,
  };
}

export { attnPrefillKernel };

/** Elements in the 16 bytes that a kernel reads at a time. */
export function wideElements(dtype: FloatDType): number {
  return 16 / bytesPerElement(dtype);
}

function isWide(rows: TokenRows | PagedRows, headDim: number): boolean {
  return hasMultiplesOf(wideElements(rows.tensor.dtype as FloatDType), rows, headDim);
}

/** Whether every row of a tensor starts at a multiple of `n` elements and is a multiple of `n` long. */
function hasMultiplesOf(n: number, rows: TokenRows | PagedRows, headDim: number): boolean {
  const page = 'page' in rows ? rows.page : 0;
  const steps = [headDim, rows.sequence, rows.token, rows.head, page, windowOf(rows.tensor).firstElement];
  return steps.every((step) => step % n === 0);
}
