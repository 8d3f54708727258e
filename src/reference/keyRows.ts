import { PageflashError } from '../core/errors.js';
import { sizes4, type HostInts, type HostTensor } from './hostTensor.js';

/** The rows of nKeys keys that lie one after another: first, first + 1, ... */
export function contiguousRows(first: number, nKeys: number): Int32Array {
  return Int32Array.from({ length: nKeys }, (_, j) => first + j);
}

/** Instead of the row of a key whose page the pool does not have: there is none. Nothing is written, the key is masked. */
export const NO_ROW = -1;

/** The rows of nKeys keys at the start of one row of a cache [Bc, Sc, Hkv, D]; no keys if the cache has no such row. */
export function cacheRows(cache: HostTensor, cacheRow: number, nKeys: number): Int32Array {
  const [nRows, nSlots] = sizes4('a cache', cache);
  if (!isIndex(cacheRow, nRows)) return new Int32Array(0);
  if (nKeys > nSlots)
    throw new PageflashError('length', `row ${cacheRow} of the cache has ${nSlots} slots for ${nKeys} keys.`);
  return contiguousRows(cacheRow * nSlots, nKeys);
}

/** Which pages of a pool hold the keys of each sequence. */
export interface PageTable {
  /** Page ids, row after row. */
  readonly blockTable: HostInts;
  readonly nRows: number;
  /** Entries per row. */
  readonly width: number;
  readonly nPages: number;
  readonly pageSize: number;
}

export function pageTableOf(blockTable: HostInts, nRows: number, pages: HostTensor): PageTable {
  const [nPages, pageSize] = sizes4('a pool of pages', pages);
  return { blockTable, nRows, width: blockTable.length / nRows, nPages, pageSize };
}

/**
 * The rows of nKeys keys in a pool of pages: key j is in slot page · pageSize + j mod pageSize, the slot is the row;
 * NO_ROW if the pool has no such page. No keys if the table has no such row.
 */
export function pagedRows(table: PageTable, tableRow: number, nKeys: number): Int32Array {
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
