import { PageflashError } from '../core/errors.js';

// Which blocks of keys each block of queries sees.

/** i32 in host memory, contiguous and row-major. */
export interface HostInt32s {
  readonly data: Int32Array;
  readonly shape: readonly number[];
}

/** Query `i` of a sequence, of one head. */
interface Row {
  readonly sequence: number;
  readonly i: number;
  readonly head: number;
}

/** Lists of blocks of keys, as FlexAttention's `BlockMask` has them. */
export interface HostBlockMask {
  /** `[B or 1, Hq or 1, nQ]`: how many entries of each list count. */
  readonly kvNumBlocks: HostInt32s;
  /** `[B or 1, Hq or 1, nQ, nK]` */
  readonly kvIndices: HostInt32s;
  /** Likewise, blocks that are seen as a whole. */
  readonly fullKvNumBlocks?: HostInt32s | undefined;
  readonly fullKvIndices?: HostInt32s | undefined;
  readonly blockSize: readonly [q: number, k: number];
}

/** Returns the entries of a list that count, of the block of queries which a row is in. */
function listOf(counts: HostInt32s, indices: HostInt32s, row: Row, block: number): Int32Array {
  const start = ({ shape }: HostInt32s): number => {
    const [batch, heads, nRows, width = 1] = shape as [number, number, number, number?];
    if (block >= nRows)
      throw new PageflashError(
        'shape',
        `blockMask has ${nRows} blocks of queries, but query ${row.i} exists.`,
      );
    const sequence = batch === 1 ? 0 : row.sequence;
    const head = heads === 1 ? 0 : row.head;
    return ((sequence * heads + head) * nRows + block) * width;
  };
  const first = start(indices);
  return indices.data.subarray(first, first + counts.data[start(counts)]!);
}

/** Returns whether the block that key j is in is full, so that maskMod is not asked. */
export function isFullFor(blockMask: HostBlockMask | undefined, row: Row): (j: number) => boolean {
  if (!blockMask?.fullKvNumBlocks || !blockMask.fullKvIndices) return () => false;
  const { fullKvNumBlocks, fullKvIndices, blockSize } = blockMask;
  const full = new Set(listOf(fullKvNumBlocks, fullKvIndices, row, Math.floor(row.i / blockSize[0])));
  return (j) => full.has(Math.floor(j / blockSize[1]));
}

/** Returns whether a row sees the block that key j is in. */
export function seesBlockOf(blockMask: HostBlockMask | undefined, row: Row): (j: number) => boolean {
  if (!blockMask) return () => true;
  const { kvNumBlocks, kvIndices, fullKvNumBlocks, fullKvIndices, blockSize } = blockMask;
  const block = Math.floor(row.i / blockSize[0]);
  const seen = new Set(listOf(kvNumBlocks, kvIndices, row, block));
  if (fullKvNumBlocks && fullKvIndices)
    for (const full of listOf(fullKvNumBlocks, fullKvIndices, row, block)) seen.add(full);
  return (j) => seen.has(Math.floor(j / blockSize[1]));
}
