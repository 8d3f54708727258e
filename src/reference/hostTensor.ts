import { describe, fail, PageflashError } from '../core/errors.js';
import { elementCount } from '../core/tensor.js';

/** Real numbers in host memory, contiguous and row-major: what the reference reads and returns. */
export interface HostTensor {
  /** As many numbers as the product of `shape`. */
  readonly data: Float32Array | Float64Array;
  readonly shape: readonly number[];
}

/** Integers on the host: lengths, running sums, block tables. */
export type HostInts = Int32Array | Uint32Array | readonly number[];

/** Real numbers on the host without a shape of their own: ALiBi slopes, sinks. */
export type HostFloats = Float32Array | Float64Array | readonly number[];

/** Checks that arguments are tensors, and have as many numbers as their shapes say. */
export function checkTensors(
  caller: string,
  tensors: Readonly<Record<string, HostTensor | undefined>>,
): void {
  for (const [name, tensor] of Object.entries(tensors)) {
    if (!Array.isArray(tensor?.shape) || !ArrayBuffer.isView(tensor.data))
      fail(
        'argument',
        caller,
        `${name} must be { data, shape }, numbers in a typed array, not ${describe(tensor)}.`,
      );
    const count = elementCount(tensor.shape);
    if (tensor.data.length === count) continue;
    const shape = tensor.shape.join(', ');
    fail('shape', caller, `${name} is [${shape}], ${count} numbers, but has ${tensor.data.length}.`);
  }
}

/** Returns the sizes of a tensor that must have three dimensions. */
export function sizes3(name: string, { shape }: HostTensor): readonly [number, number, number] {
  const [a, b, c, ...rest] = shape;
  if (a === undefined || b === undefined || c === undefined || rest.length > 0)
    throw wrongRank(name, 3, shape);
  return [a, b, c];
}

/** Returns the sizes of a tensor that must have four dimensions. */
export function sizes4(name: string, { shape }: HostTensor): readonly [number, number, number, number] {
  const [a, b, c, d, ...rest] = shape;
  if (a === undefined || b === undefined || c === undefined || d === undefined || rest.length > 0)
    throw wrongRank(name, 4, shape);
  return [a, b, c, d];
}

/** Returns how many heads a row has, and the head size. */
export function lastSizes({ shape }: HostTensor): readonly [number, number] {
  return [shape.at(-2)!, shape.at(-1)!];
}

function wrongRank(name: string, rank: number, shape: readonly number[]): PageflashError {
  return new PageflashError(
    'shape',
    `${name} must have ${rank} dimensions; its shape is [${shape.join(', ')}].`,
  );
}

/** Returns the rows of nKeys keys that lie one after another: first, first + 1, ... */
export function contiguousRows(first: number, nKeys: number): Int32Array {
  return Int32Array.from({ length: nKeys }, (_, j) => first + j);
}

/** The row of a key whose page the pool does not have. The key is masked, and never written. */
export const NO_ROW = -1;

/**
 * Returns the rows of nKeys keys at the start of one row of a cache [Bc, Sc, Hkv, D]; no keys if the cache has no such
 * row.
 */
export function cacheRows(cache: HostTensor, cacheRow: number, nKeys: number): Int32Array {
  const [nRows, nSlots] = sizes4('a cache', cache);
  if (!isIndex(cacheRow, nRows)) return new Int32Array(0);
  if (nKeys > nSlots)
    throw new PageflashError('length', `row ${cacheRow} of the cache has ${nSlots} slots for ${nKeys} keys.`);
  return contiguousRows(cacheRow * nSlots, nKeys);
}

/** The block table of a pool: the pages that hold the keys of each sequence. */
export interface BlockTable {
  /** Page ids, row after row. */
  readonly blockTable: HostInts;
  readonly nRows: number;
  /** Entries per row. */
  readonly width: number;
  readonly nPages: number;
  readonly pageSize: number;
}

export function blockTableOf(blockTable: HostInts, nRows: number, pages: HostTensor): BlockTable {
  const [nPages, pageSize] = sizes4('a pool of pages', pages);
  return { blockTable, nRows, width: blockTable.length / nRows, nPages, pageSize };
}

/**
 * Returns the rows of nKeys keys in a pool of pages. Key j is in slot page · pageSize + j mod pageSize, and the slot is
 * its row; NO_ROW if the pool has no such page. There are no keys if the table has no such row.
 */
export function pagedRows(table: BlockTable, tableRow: number, nKeys: number): Int32Array {
  const { blockTable, nRows, width, nPages, pageSize } = table;
  if (!isIndex(tableRow, nRows)) return new Int32Array(0);
  const needed = Math.ceil(nKeys / pageSize);
  if (needed > width)
    throw new PageflashError(
      'length',
      `row ${tableRow} of blockTable has ${width} pages of ${pageSize} slots; ${nKeys} keys need ${needed}.`,
    );
  return Int32Array.from({ length: nKeys }, (_, j) => {
    const page = blockTable[tableRow * width + Math.floor(j / pageSize)]!;
    return isIndex(page, nPages) ? page * pageSize + (j % pageSize) : NO_ROW;
  });
}

function isIndex(index: number, length: number): boolean {
  return index >= 0 && index < length;
}
