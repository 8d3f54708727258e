import { grid2d, type Dispatch, type Scratch } from '../core/dispatch.js';
import type { AttentionProblem, DeviceLengths } from '../problem/attentionProblem.js';
import { basesOf, batchInfoLayout, tableRowStride } from './shared/batchInfo.js';
import { constantOf } from '../wgsl/reflection.js';
import gatherLengthsKernel from './gather_lengths.wgsl';
import { firstElementOf } from './shared/elements.js';

export interface GatherLengthsArgs {
  readonly problem: AttentionProblem;
  readonly lengths: DeviceLengths;
  /** What `packItems` returns, or other records of their size. */
  readonly items: Uint32Array;
  readonly batchInfo: Scratch;
  readonly maxWorkgroupsPerDimension: number;
}

/** Writes the sequences of `batch_info` from lengths that are on the GPU, and its items. */
export function gatherLengthsDispatch(args: GatherLengthsArgs): Dispatch {
  const { problem, lengths, items, batchInfo, maxWorkgroupsPerDimension } = args;
  const { batch, q, k, v, out, lse, append, masks } = problem;
  const { cuSeqlensQ, cuSeqlensK, nCached, cuSeqlensKNew, cacheBatchIdx, cacheLeftpad } = lengths;
  const bases = basesOf(problem);
  return {
    kernel: gatherLengthsKernel,
    spec: {},
    perStep: true,
    params: {
      batch,
      total_q: lengths.totalQ,
      total_k: lengths.totalK,
      total_new: lengths.totalNew,
      max_seqlen_q: lengths.maxSeqlenQ,
      max_seqlen_k: lengths.maxSeqlenK,
      n_new: lengths.maxNew,
      n_rows: lengths.nRows,
      // gather_tokens compares positions of the tokens' own.
      n_positions: masks.tokens?.positionRows ? 0 : (append?.rotary?.nPositions ?? 0),
      queries_advance: append?.rotary?.queriesAdvance ? 1 : 0,
      has_cu_q: cuSeqlensQ ? 1 : 0,
      has_cu_k: cuSeqlensK ? 1 : 0,
      has_cached_keys: nCached ? 1 : 0,
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
      q_sequence: q.sequenceStride,
      k_sequence: k.sequenceStride,
      v_sequence: v.sequenceStride,
      out_sequence: out.sequenceStride,
      lse_sequence: lse?.sequenceStride ?? 0,
      table_row: tableRowStride(problem),
      new_k_sequence: append?.newK?.sequenceStride ?? 0,
      new_v_sequence: append?.newV?.sequenceStride ?? 0,
      q_token: q.tokenStride,
      k_token: k.tokenStride,
      v_token: v.tokenStride,
      out_token: out.tokenStride,
      lse_token: lse?.tokenStride ?? 0,
      new_k_token: append?.newK?.tokenStride ?? 0,
      new_v_token: append?.newV?.tokenStride ?? 0,
      cu_q_base: firstElementOf(cuSeqlensQ),
      cu_k_base: firstElementOf(cuSeqlensK),
      cached_keys_base: firstElementOf(nCached),
      cu_k_new_base: firstElementOf(cuSeqlensKNew),
      batch_idx_base: firstElementOf(cacheBatchIdx),
      leftpad_base: firstElementOf(cacheLeftpad),
      item_word: batchInfoLayout(problem).itemWord,
      n_item_words: items.length,
    },
    bindings: {
      cu_seqlens_q: cuSeqlensQ,
      cu_seqlens_k: cuSeqlensK,
      cached_keys: nCached,
      cu_seqlens_k_new: cuSeqlensKNew,
      cache_batch_idx: cacheBatchIdx,
      cache_leftpad: cacheLeftpad,
      items,
      gathered: batchInfo,
    },
    grid: grid2d(
      Math.ceil((batch + items.length) / constantOf(gatherLengthsKernel, 'WG_SIZE')),
      maxWorkgroupsPerDimension,
    ),
  };
}
