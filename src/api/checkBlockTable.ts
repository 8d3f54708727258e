import { isTensor } from '../core/tensor.js';
import {
  isHostLengths,
  type DeviceLengths,
  type HostLengths,
  type Masks,
  type PageTable,
} from '../kernels/attentionProblem.js';
import { visibleBand } from '../kernels/band.js';
import { fail } from './checkTensor.js';

/**
 * Checks, as far as the host knows, that the row of each sequence has a page for each key, and that each page that a
 * query can see exists. Pages behind a window may be anything: a page manager takes them back.
 */
export function checkBlockTable(
  caller: string,
  pages: PageTable,
  lengths: HostLengths | DeviceLengths,
  masks: Masks,
): void {
  if (!isHostLengths(lengths)) return;
  const { pageSize, nPages, table, width } = pages;
  lengths.kLen.forEach((kLen, b) => {
    const needed = Math.ceil(kLen / pageSize);
    if (needed > width) {
      fail(
        'length',
        caller,
        `sequence ${b} needs ${needed} pages for ${kLen} keys but its row of blockTable has ${width}. Reserve pages first, or pass a wider table.`,
      );
    }
    if (isTensor(table) || lengths.qLen[b] === 0) return;
    const keys = { firstKey: lengths.firstKey[b]!, kLen };
    const [firstKey] = visibleBand(kLen - lengths.qLen[b]!, keys, masks);
    for (let column = Math.floor(firstKey / pageSize); column < needed; column++) {
      const page = table[b * width + column]!;
      if (page >= 0 && page < nPages) continue;
      fail(
        'length',
        caller,
        `blockTable gives sequence ${b} the page ${page} for keys ${column * pageSize} to ${Math.min(kLen, (column + 1) * pageSize) - 1}, but there are pages 0 to ${nPages - 1}.`,
      );
    }
  });
}
