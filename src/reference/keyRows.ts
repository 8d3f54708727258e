import { PageflashError } from '../core/errors.js';
import { seesBlockOf, type HostBlockMask } from './blockMask.js';
import type { HostTensor } from './hostTensor.js';

// What a call says about each pair of a row and a key: a bit whether the row sees the key, a number to add to its score, and
// which blocks of keys the row sees.

/** u32 words in host memory, contiguous and row-major. */
export interface HostWords {
  readonly data: Uint32Array;
  readonly shape: readonly number[];
}

export interface KeyRowOptions {
  /**
   * `[B or 1, Hq or 1, Sq, words]`, or `[Hq or 1, totalQ, words]` where q is `[totalQ, …]`: bit j % 32 of word ⌊j / 32⌋ says
   * whether a row sees key j.
   */
  readonly mask?: HostWords | undefined;
  /** `[B or 1, Hq or 1, Sq, keys]`, or `[Hq or 1, totalQ, keys]`: added to the scores; below −1e30 it hides the key. */
  readonly bias?: HostTensor | undefined;
  /** Which blocks of keys the queries of a block see. */
  readonly blockMask?: HostBlockMask | undefined;
}

/** A row of queries: head `head` of query `i` of a sequence, whose first query is `firstQuery` among those of all. */
export interface QueryRow {
  readonly sequence: number;
  readonly firstQuery: number;
  readonly i: number;
  readonly head: number;
}

/** Returns the index of the first element of a row. */
function rowStart(name: string, { shape }: HostWords | HostTensor, row: QueryRow): number {
  const { sequence, firstQuery, i, head } = row;
  const width = shape.at(-1)!;
  if (shape.length === 4) {
    const [batch, heads, nQueries] = shape as [number, number, number, number];
    return ((at(sequence, batch) * heads + at(head, heads)) * nQueries + i) * width;
  }
  if (shape.length !== 3)
    throw new PageflashError(
      'shape',
      `${name} must have 3 or 4 dimensions; its shape is [${shape.join(', ')}].`,
    );
  const [heads, totalQ] = shape as [number, number, number];
  return (at(head, heads) * totalQ + firstQuery + i) * width;
}

/** A dimension of one entry is shared. */
function at(index: number, size: number): number {
  return size === 1 ? 0 : index;
}

/** Biases below it hide keys. */
const LOWEST_BIAS = -1e30;

/** Returns what is added to the scores of a row, by key: −∞ for a key that it does not see. */
export function addedTo({ mask, bias, blockMask }: KeyRowOptions, row: QueryRow): (j: number) => number {
  if (!mask && !bias && !blockMask) return () => 0;
  const isInBlock = seesBlockOf(blockMask, row);
  const maskAt = mask ? rowStart('mask', mask, row) : 0;
  const biasAt = bias ? rowStart('bias', bias, row) : 0;
  return (j) => {
    if (mask && ((mask.data[maskAt + Math.floor(j / 32)]! >>> (j % 32)) & 1) === 0) return -Infinity;
    if (!isInBlock(j)) return -Infinity;
    const added = bias ? bias.data[biasAt + j]! : 0;
    return added < LOWEST_BIAS ? -Infinity : added;
  };
}
