import type { Ints, Tensor } from '../core/tensor.js';

/**
 * Which blocks of keys the queries of a block see, as FlexAttention's `BlockMask` has them: for each block of queries a
 * list of blocks of keys. What is not listed is hidden; it is neither read nor computed where it fills a tile.
 */
export interface BlockMask {
  /**
   * i32 [B or 1, Hq or 1, nQ]: how many entries of a row of `kvIndices` count. There are ⌈sq / blockSize[0]⌉ blocks of
   * queries, or more. On the host flat.
   */
  readonly kvNumBlocks: Ints;
  /**
   * i32 [B or 1, Hq or 1, nQ, nK]: the blocks of keys that a block of queries sees. Its entries may be in any order; those
   * that do not count mean nothing. On the host flat.
   */
  readonly kvIndices: Ints;
  /** Likewise [B or 1, Hq or 1, nQ] of `fullKvIndices`; both or neither are given. */
  readonly fullKvNumBlocks?: Ints | undefined;
  /** [B or 1, Hq or 1, nQ, nK]: blocks of keys that all queries of a block see, as far as other masks let them. */
  readonly fullKvIndices?: Ints | undefined;
  /** Queries and keys of a block. */
  readonly blockSize: readonly [q: number, k: number];
}

/** A block mask that was checked. A block of queries has a row of bits for the blocks of keys: see block_masks.wgsl. */
export interface Blocks {
  /** Sequences and heads that have rows of their own: all, or 1 if they share them. */
  readonly sequences: number;
  readonly heads: number;
  /** Blocks of queries of a sequence, and blocks of keys. */
  readonly nRows: number;
  readonly nColumns: number;
  /** Queries and keys of a block. */
  readonly rowTokens: number;
  readonly columnKeys: number;
  readonly listed: BlockLists;
  /** Null where none are given. */
  readonly full: BlockLists | null;
}

/** Blocks of keys by block of queries. */
export interface BlockLists {
  /** i32 [sequences or 1, heads or 1, rows], or u32 on the GPU */
  readonly counts: Tensor | Int32Array;
  /** [sequences or 1, heads or 1, rows, width] */
  readonly indices: Tensor | Int32Array;
  /** Of both; sizes of 1 are shared. */
  readonly countShape: readonly [sequences: number, heads: number, nRows: number];
  readonly indexShape: readonly [sequences: number, heads: number, nRows: number, width: number];
}

/** Whether a problem has full blocks that say of which keys a function of the caller's need not be asked. */
export function sparesMaskMod({
  blocks,
  mods,
}: {
  readonly blocks: Blocks | null;
  readonly mods: { readonly maskMod: unknown } | null;
}): boolean {
  return Boolean(blocks?.full && mods?.maskMod);
}

/** Words of 32 bits in a row. */
export function blockWords({ nColumns }: Pick<Blocks, 'nColumns'>): number {
  return Math.max(1, Math.ceil(nColumns / 32));
}

/** The blocks of queries and of keys of sequences of one length. */
export interface BlockGrid {
  readonly batch: number;
  readonly nHeads: number;
  readonly nRows: number;
  readonly nColumns: number;
  readonly seqlenQ: number;
  readonly seqlenK: number;
  readonly rowTokens: number;
  readonly columnKeys: number;
}

/** Where the lists of a block mask begin that are made together, in one array: numbers first. */
export function elementsOf({ batch, nHeads, nRows, nColumns }: BlockGrid) {
  const rows = batch * nHeads * nRows;
  const indices = 2 * rows;
  const fullIndices = indices + rows * nColumns;
  return { counts: 0, fullCounts: rows, indices, fullIndices, end: fullIndices + rows * nColumns };
}
