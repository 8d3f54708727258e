import { grid2d, type Dispatch, type HostData, type Scratch } from '../core/dispatch.js';
import type { FloatDType } from '../core/dtype.js';
import type { Tensor } from '../core/tensor.js';
import type { SplitParts } from './shared/attention.js';
import type { AttentionProblem, TokenRows } from '../problem/attentionProblem.js';
import { tablesLayout } from './shared/batchInfo.js';
import mergeStatesKernel from './merge_states.wgsl';
import { firstOf, typeOf } from './shared/numberType.js';
import { hasMultiplesOf } from './shared/wideRows.js';

const WG_SIZE = 64;

/** Outputs and their lse, in tensors of any strides or in memory of the runtime. */
export interface States {
  readonly out: TokenRows | ScratchRows;
  readonly lse: TokenRows | ScratchRows;
  /**
   * Whether lse holds two numbers of each row, maximum and total: the lse is maximum + ln(total). Where it is large, a
   * single number cannot tell how parts weigh.
   */
  readonly hasTotals: boolean;
}

/** f32 in memory of the runtime, with strides as a tensor has them. */
export interface ScratchRows extends Omit<TokenRows, 'tensor'> {
  readonly tensor: Scratch;
}

export interface MergeStatesArgs {
  readonly batch: number;
  readonly nTokens: number;
  readonly nHeads: number;
  readonly headDim: number;
  /** Several parts at equal distances: in elements of out and of lse from one to the next. */
  readonly a: States & { readonly n: number; readonly outPart: number; readonly lsePart: number };
  /** One part more, or null. */
  readonly b: States | null;
  readonly out: TokenRows | ScratchRows;
  readonly lse: TokenRows | ScratchRows | null;
  /** Of the result. */
  readonly hasTotals: boolean;
  readonly maxWorkgroupsPerDimension: number;
}

/** Combine parts of attention, each a tensor like the output. */
export function mergeStates(args: MergeStatesArgs): Dispatch {
  return merge(args, null);
}

export interface MergeSplitsArgs {
  readonly problem: AttentionProblem;
  readonly tables: HostData | Scratch;
  /** (sequence, token, first slot, chunks) of every token whose keys were split, four words each. */
  readonly items: Uint32Array;
  readonly parts: SplitParts;
  readonly maxWorkgroupsPerDimension: number;
}

/** Combine the chunks of a split attention. */
export function mergeSplits(args: MergeSplitsArgs): Dispatch {
  const { problem, parts, items, maxWorkgroupsPerDimension } = args;
  const { nHeads, headDimV, out, lse } = problem;
  // Where a token's parts begin, and how many there are, its item tells.
  const byItem = { sequence: 0, token: 0 };
  const a = {
    out: { tensor: parts.out, head: parts.rowElements, ...byItem },
    lse: { tensor: parts.sums, head: 2, ...byItem },
    hasTotals: true,
    n: 0,
    outPart: nHeads * parts.rowElements,
    lsePart: 2 * nHeads,
  };
  const sizes = { batch: 1, nTokens: items.length / 4, nHeads, headDim: headDimV };
  return merge({ ...sizes, a, b: null, out, lse, hasTotals: false, maxWorkgroupsPerDimension }, args);
}

function merge(args: MergeStatesArgs, splits: MergeSplitsArgs | null): Dispatch {
  const { batch, nTokens, nHeads, headDim, a, b, out, lse, hasTotals, maxWorkgroupsPerDimension } = args;
  const headQuads = Math.ceil(headDim / 4);
  return {
    kernel: mergeStatesKernel,
    spec: outConditions(out, headDim),
    params: {
      n_heads: nHeads,
      head_dim: headDim,
      head_quads: headQuads,
      n_items: batch * nTokens,
      is_listed: splits ? 1 : 0,
      a_has_totals: a.hasTotals ? 1 : 0,
      b_has_totals: b?.hasTotals ? 1 : 0,
      has_totals: hasTotals ? 1 : 0,
      n_tokens: nTokens,
      n_a: a.n,
      has_b: b ? 1 : 0,
      a_type: typeOfRows(a.out),
      a_part: a.outPart,
      a_lse_part: a.lsePart,
      b_type: typeOfRows(b?.out),
      ...strides('a', a.out),
      ...strides('a_lse', a.lse),
      ...strides('b', b?.out),
      ...strides('b_lse', b?.lse),
      ...strides('out', out),
      ...strides('lse', lse),
      has_lse: lse ? 1 : 0,
      sinks_at: splits ? tablesLayout(splits.problem).sinksAt : 0,
      has_sinks: splits?.problem.sinks ? 1 : 0,
    },
    bindings: {
      a_out: a.out.tensor,
      a_lse: a.lse.tensor,
      b_out: b?.out.tensor ?? null,
      b_lse: b?.lse.tensor ?? null,
      tables: splits?.tables ?? null,
      items: splits?.items ?? null,
      out: out.tensor,
      lse: lse?.tensor ?? null,
    },
    grid: grid2d(Math.ceil((batch * nTokens * nHeads * headQuads) / WG_SIZE), maxWorkgroupsPerDimension),
  };
}

function isTensorRows(rows: TokenRows | ScratchRows): rows is TokenRows {
  return 'buffer' in rows.tensor;
}

function tensorOf(rows: TokenRows | ScratchRows | null | undefined): Tensor | null {
  return rows && isTensorRows(rows) ? rows.tensor : null;
}

function typeOfRows(rows: TokenRows | ScratchRows | undefined): number {
  return typeOf(tensorOf(rows));
}

/** A tensor's parameters, as the kernel names them. */
function strides(prefix: string, rows: TokenRows | ScratchRows | null | undefined): Record<string, number> {
  return {
    [`${prefix}_base`]: firstOf(tensorOf(rows)),
    [`${prefix}_sequence`]: rows?.sequence ?? 0,
    [`${prefix}_token`]: rows?.token ?? 0,
    [`${prefix}_head`]: rows?.head ?? 0,
  };
}

function outConditions(out: TokenRows | ScratchRows, headDim: number) {
  const dtype: FloatDType = isTensorRows(out) ? (out.tensor.dtype as FloatDType) : 'f32';
  return mergeSpec(dtype, !isTensorRows(out) ? headDim % 4 === 0 : hasMultiplesOf(4, out, headDim));
}

export function mergeSpec(outDType: FloatDType, outWide: boolean) {
  return {
    OUT_F16: outDType === 'f16',
    OUT_BF16: outDType === 'bf16',
    OUT_HALVES: outDType !== 'f32',
    OUT_WIDE: outWide,
  };
}

export { mergeStatesKernel };
