import { grid2d, type Dispatch, type Scratch } from '../core/dispatch.js';
import { isTensor, stridesOf } from '../core/tensor.js';
import type { AttentionProblem, SmallFloats } from '../problem/attentionProblem.js';
import { batchInfoLayout, headScalesOf } from './shared/batchInfo.js';
import { constantOf } from '../wgsl/reflection.js';
import gatherHeadsKernel from './gather_heads.wgsl';
import { dtypeCode, firstElementOf } from './shared/elements.js';

export interface GatherHeadsArgs {
  readonly problem: AttentionProblem;
  /** Where the host knows all lengths. */
  readonly sequences: Uint32Array | null;
  /** What `packItems` returns, or other records of their size; null where gather_lengths writes them. */
  readonly items: Uint32Array | null;
  readonly batchInfo: Scratch;
  readonly maxWorkgroupsPerDimension: number;
}

/** Writes the slopes, sinks and scales of `batch_info` where any of them is on the GPU, and what the host knows of the rest. */
export function gatherHeadsDispatch(args: GatherHeadsArgs): Dispatch {
  const { problem, sequences, items, batchInfo, maxWorkgroupsPerDimension } = args;
  const { nHeads, slopes, sinks } = problem;
  const { slopesAt, nSlopes, nSinks, nScales, itemWord } = batchInfoLayout(problem);
  const nItemWords = items?.length ?? 0;
  const words = slopesAt + nSlopes + nSinks + 2 * nScales + nItemWords;
  const scales = headScalesOf(problem);
  return {
    kernel: gatherHeadsKernel,
    spec: {},
    // Each layer has scales of its own.
    perStep: ![scales?.k, scales?.v].some((numbers) => numbers && isTensor(numbers)),
    params: {
      has_sequences: sequences ? 1 : 0,
      slopes_at: slopesAt,
      n_heads: nHeads,
      n_slopes: nSlopes,
      slopes_base: firstElementOf(slopes?.values),
      slopes_row: slopes?.perSequence && isTensor(slopes.values) ? stridesOf(slopes.values)[0]! : nHeads,
      slopes_type: dtypeCode(slopes?.values),
      n_sinks: nSinks,
      sinks_base: firstElementOf(sinks),
      sinks_type: dtypeCode(sinks),
      n_scales: nScales,
      k_scales_base: firstElementOf(scales?.k),
      k_scales_step: stepOf(scales?.k),
      v_scales_base: firstElementOf(scales?.v),
      v_scales_step: stepOf(scales?.v),
      item_word: itemWord,
      n_item_words: nItemWords,
    },
    bindings: {
      slopes: slopes?.values ?? null,
      sinks,
      sequences,
      items,
      gathered: batchInfo,
      k_scales: scales?.k ?? null,
      v_scales: scales?.v ?? null,
    },
    grid: grid2d(Math.ceil(words / constantOf(gatherHeadsKernel, 'WG_SIZE')), maxWorkgroupsPerDimension),
  };
}

/** From the scale of one head to that of the next. */
function stepOf(scales: SmallFloats | undefined): number {
  return scales && isTensor(scales) && scales.shape[0] === 1 ? 0 : 1;
}
