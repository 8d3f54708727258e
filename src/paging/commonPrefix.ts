import { describe } from '../core/describe.js';
import { fail } from '../core/errors.js';
import type { Batch } from './pool/batch.js';
import { checkCount } from './check.js';

/**
 * Tokens at the start that all sequences of a batch have in the same pages, in whole pages and before anything new: a
 * cascade can attend to them once for all. O(B · pages in common)
 *
 * ```ts
 * const nCommon = commonPrefix(batch, pages.pageSize); // 0 for one sequence, which has nobody to share with
 * ```
 */
export function commonPrefix(batch: Batch, pageSize: number): number {
  if (!batch?.blockTable)
    fail('argument', 'commonPrefix', `batch must be a batch or a step, not ${describe(batch)}.`);
  checkCount('commonPrefix', 'pageSize', pageSize, 1);
  const { nSequences, blockTable, tableWidth, cacheSeqlens } = batch;
  if (nSequences < 2) return 0;
  let nPages = tableWidth;
  for (let b = 0; b < nSequences; b++) nPages = Math.min(nPages, Math.floor(cacheSeqlens[b]! / pageSize));
  for (let b = 0; b < nSequences; b++) {
    let column = 0;
    // A page behind the window, −1, is nothing to attend to.
    while (column < nPages && blockTable[b * tableWidth + column]! >= 0 && isSame(batch, b, column)) column++;
    nPages = column;
  }
  return nPages * pageSize;
}

function isSame({ blockTable, tableWidth }: Batch, b: number, column: number): boolean {
  return blockTable[b * tableWidth + column] === blockTable[column];
}
