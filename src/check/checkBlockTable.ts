import { fail } from '../core/errors.js';
import { isTensor } from '../core/tensor.js';
import {
  isHostLengths,
  type DeviceLengths,
  type HostLengths,
  type Masks,
  type PageTable,
} from '../problem/attentionProblem.js';
import { visibleBand } from '../problem/band.js';

/**
 * Checks, as far as the host knows, that the row of each sequence has a page for each key, and that each page that is
 * read or written exists. Pages behind a window may be anything: a page manager takes them back.
 */
export function checkBlockTable(
  caller: string,
  pages: PageTable,
  lengths: HostLengths | DeviceLengths,
  masks: Masks,
): void {
  if (!isHostLengths(lengths)) return;
  checkRoomInTable(caller, pages, lengths.kLen);
  const { pageSize, nPages, table, width } = pages;
  if (isTensor(table)) return;
  lengths.kLen.forEach((kLen, b) => {
    const needed = Math.ceil(kLen / pageSize);
    const firstUsed = firstUsedKey(lengths, b, masks);
    if (firstUsed >= kLen) return;
    for (let column = Math.floor(firstUsed / pageSize); column < needed; column++) {
      const page = table[lengths.row[b]! * width + column]!;
      if (page >= 0 && page < nPages) continue;
      fail(
        'length',
        caller,
        `blockTable gives sequence ${b} the page ${page} for ${keys(column * pageSize, Math.min(kLen, (column + 1) * pageSize) - 1)}, but there are pages 0 to ${nPages - 1}. Reserve pages first.`,
      );
    }
  });
}

/** Checks that the row of each sequence has an entry for each page that it needs. */
export function checkRoomInTable(caller: string, { pageSize, width }: PageTable, kLen: Int32Array): void {
  kLen.forEach((length, b) => {
    const needed = Math.ceil(length / pageSize);
    if (needed <= width) return;
    fail(
      'length',
      caller,
      `sequence ${b} needs ${needed} pages for ${length} keys but its row of blockTable has ${width}. Reserve pages first, or pass a wider table.`,
    );
  });
}

function keys(first: number, last: number): string {
  return first === last ? `key ${first}` : `keys ${first} to ${last}`;
}

/** The first key that a query sees or that is written. */
function firstUsedKey(lengths: HostLengths, b: number, masks: Masks): number {
  const [kLen, qLen, firstKey] = [lengths.kLen[b]!, lengths.qLen[b]!, lengths.firstKey[b]!];
  const firstNew = lengths.nCached[b]!;
  if (qLen === 0) return firstNew;
  return Math.min(firstNew, visibleBand(kLen - qLen, { firstKey, kLen }, masks)[0]);
}
