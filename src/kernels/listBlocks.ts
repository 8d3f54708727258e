import { grid2d, type Dispatch } from '../core/dispatch.js';
import type { Tensor } from '../core/tensor.js';
import type { AttentionMod, Mods } from '../problem/attentionProblem.js';
import { elementsOf, type BlockGrid } from '../problem/blockMask.js';
import listBlocksKernel from './list_blocks.wgsl';
import { firstElementOf } from './shared/elements.js';
import { modBuffers, withMods } from './shared/mods.js';

export interface ListBlocksArgs {
  readonly blocks: BlockGrid;
  /** maskMod alone. */
  readonly mods: Mods;
  /** i32, as `elementsOf` divides it. */
  readonly lists: Tensor;
  /** Which of the rows of all sequences and heads a dispatch takes: first, and one past the last. */
  readonly range: readonly [number, number];
  readonly maxWorkgroupsPerDimension: number;
}

/** The kernel that lists blocks by maskMod. */
export function listBlocksVariant(maskMod: AttentionMod): Pick<Dispatch, 'kernel' | 'spec'> {
  return { kernel: withMods(listBlocksKernel, [maskMod.text]), spec: {} };
}

/** Lists the blocks of keys that maskMod lets each block of queries see. */
export function listBlocksDispatch(args: ListBlocksArgs): Dispatch {
  const { blocks, mods, lists, range, maxWorkgroupsPerDimension } = args;
  const { nHeads, nRows, nColumns, seqlenQ, seqlenK, rowTokens, columnKeys } = blocks;
  const { counts, fullCounts, indices, fullIndices } = elementsOf(blocks);
  const base = firstElementOf(lists);
  return {
    ...listBlocksVariant(mods.maskMod!),
    params: {
      first_row: range[0],
      end_row: range[1],
      n_heads: nHeads,
      n_rows: nRows,
      n_columns: nColumns,
      n_queries: seqlenQ,
      n_keys: seqlenK,
      row_tokens: rowTokens,
      column_keys: columnKeys,
      counts_at: base + counts,
      full_counts_at: base + fullCounts,
      indices_at: base + indices,
      full_indices_at: base + fullIndices,
    },
    bindings: { lists, ...modBuffers(mods) },
    grid: grid2d(range[1] - range[0], maxWorkgroupsPerDimension),
  };
}

export { listBlocksKernel };
