import type { Dispatch, Scratch } from '../core/dispatch.js';
import { grid2d } from '../core/grid.js';
import { isTensor, stridesOf, type Tensor } from '../core/tensor.js';
import { windowOf } from '../core/tensorWindow.js';
import {
  isHostLengths,
  type AttentionProblem,
  type DeviceLengths,
  type HostLengths,
} from './attentionProblem.js';
import { basesOf, hostSequences, tablesLayout } from './attnTables.js';
import gatherTablesKernel from './gather_tables.wgsl';

export interface GatherTablesArgs {
  readonly problem: AttentionProblem;
  readonly lengths: HostLengths | DeviceLengths;
  readonly tables: Scratch;
  readonly maxWorkgroupsPerDimension: number;
}

const WG_SIZE = 64;

/** Numbers of an element type as the kernel knows it. */
const TYPES: Readonly<Record<string, number>> = { f32: 0, f16: 1, bf16: 2 };

/** Write the tables of an attention kernel from lengths, slopes or sinks that are on the GPU. */
export function gatherTables(args: GatherTablesArgs): Dispatch {
  const { problem, lengths, tables, maxWorkgroupsPerDimension } = args;
  const { batch, nHeads, q, k, v, out, lse, pages, slopes, sinks } = problem;
  const { nSlopes, nSinks } = tablesLayout(problem);
  const bases = basesOf(problem);
  const known = isHostLengths(lengths);
  const { cuSeqlensQ, cuSeqlensK, sequsedK, ...bounds } = known ? NO_LENGTHS : lengths;
  return {
    kernel: gatherTablesKernel,
    spec: {},
    params: {
      batch,
      total_q: bounds.totalQ,
      total_k: bounds.totalK,
      max_seqlen_q: bounds.maxSeqlenQ,
      max_seqlen_k: bounds.maxSeqlenK,
      has_sequences: known ? 1 : 0,
      has_cu_k: cuSeqlensK ? 1 : 0,
      has_seqused: sequsedK ? 1 : 0,
      paged: pages ? 1 : 0,
      q_base: bases.q,
      k_base: bases.k,
      v_base: bases.v,
      out_base: bases.out,
      lse_base: bases.lse,
      table_base: bases.table,
      q_sequence: q.sequence,
      k_sequence: k.sequence,
      v_sequence: v.sequence,
      out_sequence: out.sequence,
      lse_sequence: lse?.sequence ?? 0,
      table_row: pages?.stride ?? 0,
      q_token: q.token,
      k_token: k.token,
      v_token: v.token,
      out_token: out.token,
      lse_token: lse?.token ?? 0,
      cu_q_base: firstOf(cuSeqlensQ),
      cu_k_base: firstOf(cuSeqlensK),
      seqused_base: firstOf(sequsedK),
      n_heads: nHeads,
      n_slopes: nSlopes,
      slopes_base: firstOf(slopes?.values),
      slopes_row: slopes?.perSequence && isTensor(slopes.values) ? stridesOf(slopes.values)[0]! : nHeads,
      slopes_type: typeOf(slopes?.values),
      n_sinks: nSinks,
      sinks_base: firstOf(sinks),
      sinks_type: typeOf(sinks),
    },
    bindings: {
      cu_seqlens_q: cuSeqlensQ,
      cu_seqlens_k: cuSeqlensK,
      seqused_k: sequsedK,
      slopes: slopes?.values ?? null,
      sinks,
      sequences: known ? hostSequences(problem, lengths) : null,
      tables,
    },
    grid: grid2d(Math.ceil((batch + nSlopes + nSinks) / WG_SIZE), maxWorkgroupsPerDimension),
  };
}

const NO_LENGTHS = {
  cuSeqlensQ: null,
  cuSeqlensK: null,
  sequsedK: null,
  totalQ: 0,
  totalK: 0,
  maxSeqlenQ: 0,
  maxSeqlenK: 0,
};

function firstOf(numbers: Tensor | Int32Array | Float32Array | null | undefined): number {
  return numbers && isTensor(numbers) ? windowOf(numbers).firstElement : 0;
}

function typeOf(numbers: Tensor | Float32Array | null | undefined): number {
  return numbers && isTensor(numbers) ? TYPES[numbers.dtype]! : TYPES['f32']!;
}

export { gatherTablesKernel };
