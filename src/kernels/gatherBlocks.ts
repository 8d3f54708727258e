import { grid2d, type Dispatch, type Scratch } from '../core/dispatch.js';
import { contiguousStrides, isTensor, stridesOf, type Tensor } from '../core/tensor.js';
import type { AttentionProblem } from '../problem/attentionProblem.js';
import { blockWords, sparesMaskMod, type BlockLists, type Blocks } from '../problem/blockMask.js';
import gatherBlocksKernel from './gather_blocks.wgsl';
import { batchInfoLayout, nBlockRows } from './shared/batchInfo.js';
import { firstElementOf } from './shared/elements.js';

export interface GatherBlocksArgs {
  readonly problem: AttentionProblem;
  readonly blocks: Blocks;
  readonly batchInfo: Scratch;
  readonly maxWorkgroupsPerDimension: number;
}

/** Writes the bits of blocks into `batch_info`, where any of it is on the GPU. */
export function gatherBlocksDispatch(args: GatherBlocksArgs): Dispatch {
  const { problem, blocks, batchInfo, maxWorkgroupsPerDimension } = args;
  const { heads, nRows, nColumns, listed, full } = blocks;
  const { blocksAt, fullBlocksAt } = batchInfoLayout(problem);
  return {
    kernel: gatherBlocksKernel,
    spec: {},
    perStep: true,
    params: {
      n_all_rows: nBlockRows(blocks),
      n_heads: heads,
      n_rows: nRows,
      n_columns: nColumns,
      words: blockWords(blocks),
      blocks_at: blocksAt,
      full_blocks_at: fullBlocksAt,
      has_full: full ? 1 : 0,
      keeps_full: sparesMaskMod(problem) ? 1 : 0,
      ...listParams('listed', listed),
      ...listParams('full', full),
    },
    bindings: {
      listed_counts: listed.counts,
      listed_indices: listed.indices,
      full_counts: full?.counts ?? null,
      full_indices: full?.indices ?? null,
      gathered: batchInfo,
    },
    grid: grid2d(nBlockRows(blocks), maxWorkgroupsPerDimension),
  };
}

/** Where the lists of a kind are, in elements. */
function listParams(name: 'listed' | 'full', lists: BlockLists | null): Readonly<Record<string, number>> {
  const { counts = null, indices = null, countShape = [1, 1, 1], indexShape = [1, 1, 1, 1] } = lists ?? {};
  const [countSequence, countHead, countRow] = sharedStrides(counts, countShape);
  const [indexSequence, indexHead, indexRow] = sharedStrides(indices, indexShape);
  return {
    [`${name}_width`]: indexShape[3],
    [`${name}_counts_base`]: firstElementOf(counts),
    [`${name}_counts_sequence`]: countSequence!,
    [`${name}_counts_head`]: countHead!,
    [`${name}_counts_row`]: countRow!,
    [`${name}_indices_base`]: firstElementOf(indices),
    [`${name}_indices_sequence`]: indexSequence!,
    [`${name}_indices_head`]: indexHead!,
    [`${name}_indices_row`]: indexRow!,
  };
}

/** Strides, 0 for sequences and heads of size 1, which all share. */
function sharedStrides(numbers: Tensor | Int32Array | null, shape: readonly number[]): readonly number[] {
  const strides = numbers && isTensor(numbers) ? stridesOf(numbers) : contiguousStrides(shape);
  return strides.map((stride, axis) => (axis < 2 && shape[axis] === 1 ? 0 : stride));
}
