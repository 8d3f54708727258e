import { grid2d, type Dispatch, type Scratch } from '../core/dispatch.js';
import type { AttentionProblem, DeviceLengths } from '../problem/attentionProblem.js';
import { basesOf } from './shared/batchInfo.js';
import { constantOf } from '../wgsl/reflection.js';
import gatherLengthsKernel from './gather_lengths.wgsl';
import { firstElementOf } from './shared/elements.js';

export interface GatherLengthsArgs {
  readonly problem: AttentionProblem;
  readonly lengths: DeviceLengths;
  readonly batchInfo: Scratch;
  readonly maxWorkgroupsPerDimension: number;
}

/** Writes the sequences at the beginning of `batch_info` from lengths that are on the GPU. */
export function gatherLengthsDispatch(args: GatherLengthsArgs): Dispatch {
  const { problem, lengths, batchInfo, maxWorkgroupsPerDimension } = args;
  const { batch, q, k, v, out, lse, pages, append } = problem;
  const { cuSeqlensQ, cuSeqlensK, sequsedK, cuSeqlensKNew, cacheBatchIdx, cacheLeftpad } = lengths;
  const bases = basesOf(problem);
  return {
    kernel: gatherLengthsKernel,
    spec: {},
    params: {
      batch,
      total_q: lengths.totalQ,
      total_k: lengths.totalK,
      total_new: lengths.totalNew,
      max_seqlen_q: lengths.maxSeqlenQ,
      max_seqlen_k: lengths.maxSeqlenK,
      n_new: lengths.maxNew,
      n_rows: lengths.nRows,
      n_positions: append?.rotary?.nPositions ?? 0,
      queries_advance: append?.rotary?.queriesAdvance ? 1 : 0,
      has_cu_q: cuSeqlensQ ? 1 : 0,
      has_cu_k: cuSeqlensK ? 1 : 0,
      has_seqused: sequsedK ? 1 : 0,
      has_cu_k_new: cuSeqlensKNew ? 1 : 0,
      has_batch_idx: cacheBatchIdx ? 1 : 0,
      has_leftpad: cacheLeftpad ? 1 : 0,
      is_cached: lengths.keysInRows ? 1 : 0,
      q_base: bases.q,
      k_base: bases.k,
      v_base: bases.v,
      out_base: bases.out,
      lse_base: bases.lse,
      table_base: bases.table,
      new_k_base: bases.newK,
      new_v_base: bases.newV,
      q_sequence: q.sequence,
      k_sequence: k.sequence,
      v_sequence: v.sequence,
      out_sequence: out.sequence,
      lse_sequence: lse?.sequence ?? 0,
      table_row: pages?.stride ?? 0,
      new_k_sequence: append?.newK?.sequence ?? 0,
      new_v_sequence: append?.newV?.sequence ?? 0,
      q_token: q.token,
      k_token: k.token,
      v_token: v.token,
      out_token: out.token,
      lse_token: lse?.token ?? 0,
      new_k_token: append?.newK?.token ?? 0,
      new_v_token: append?.newV?.token ?? 0,
      cu_q_base: firstElementOf(cuSeqlensQ),
      cu_k_base: firstElementOf(cuSeqlensK),
      seqused_base: firstElementOf(sequsedK),
      cu_k_new_base: firstElementOf(cuSeqlensKNew),
      batch_idx_base: firstElementOf(cacheBatchIdx),
      leftpad_base: firstElementOf(cacheLeftpad),
    },
    bindings: {
      cu_seqlens_q: cuSeqlensQ,
      cu_seqlens_k: cuSeqlensK,
      seqused_k: sequsedK,
      cu_seqlens_k_new: cuSeqlensKNew,
      cache_batch_idx: cacheBatchIdx,
      cache_leftpad: cacheLeftpad,
      sequences: batchInfo,
    },
    grid: grid2d(Math.ceil(batch / constantOf(gatherLengthsKernel, 'WG_SIZE')), maxWorkgroupsPerDimension),
  };
}

export { gatherLengthsKernel };
