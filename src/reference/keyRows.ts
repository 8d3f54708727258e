import { PageflashError } from '../core/errors.js';
import { sizes4, type HostInts, type HostTensor } from './hostTensor.js';

/** The rows of nKeys keys that lie one after another: first, first + 1, ... */
export function contiguousRows(first: number, nKeys: number): Int32Array {
  return Int32Array.from({ length: nKeys }, (_, j) => first + j);
}

/** The rows of nKeys keys at the start of one row of a cache [Bc, Sc, Hkv, D]. */
export function cacheRows(cache: HostTensor, cacheRow: number, nKeys: number): Int32Array {
  const [, nSlots] = sizes4('a cache', cache);
  if (nKeys > nSlots)
    throw new PageflashError('length', `row ${cacheRow} of the cache has ${nSlots} slots for ${nKeys} keys.`);
  return contiguousRows(cacheRow * nSlots, nKeys);
}

/** Which pages of a pool hold the keys of each sequence. */
export interface PageTable {
  /** Page ids, row after row. */
  readonly blockTable: HostInts;
  /** Entries per row. */
  readonly width: number;
  readonly pageSize: number;
}

export function pageTableOf(blockTable: HostInts, nRows: number, pages: HostTensor): PageTable {
  const [, pageSize] = sizes4('a pool of pages', pages);
  return { blockTable, width: blockTable.length / nRows, pageSize };
}

/** The rows of nKeys keys in a pool of pages: key j is in slot page · pageSize + j mod pageSize, the slot is the row. */
export function pagedRows(table: PageTable, tableRow: number, nKeys: number): Int32Array {
  const { blockTable, width, pageSize } = table;
  const nPages = Math.ceil(nKeys / pageSize);
  if (nPages > width)
    throw new PageflashError(
      'length',
      `row ${tableRow} of blockTable has ${width} pages of ${pageSize} slots; ${nKeys} keys need ${nPages}.`,
    );
  return Int32Array.from({ length: nKeys }, (_, j) => {
    const page = blockTable[tableRow * width + Math.floor(j / pageSize)]!;
    return page * pageSize + (j % pageSize);
  });
}
