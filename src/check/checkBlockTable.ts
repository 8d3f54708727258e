import { INTS } from '../core/dtype.js';
import { isTensor, stridesOf, type Ints, type Tensor } from '../core/tensor.js';
import {
  isHostLengths,
  type BlockTable,
  type DeviceLengths,
  type HostLengths,
  type Masks,
} from '../problem/attentionProblem.js';
import { firstKeysEnd, visibleBand } from '../problem/band.js';
import {
  bandOfTokens,
  firstTokenOf,
  masksByPosition,
  masksByTree,
  tokenPositions,
} from '../problem/tokenMasks.js';
import { isHostArray, type Call } from './call.js';
import { MAX_LENGTH } from './checkLengths.js';
import { checkInts } from './checkNumbers.js';
import { checkForm } from './checkTensor.js';

export interface BlockTableArgs {
  readonly blockTable: Ints;
  /** Rows that a table on the host has, and that any must have. */
  readonly nRows: number;
  /** Whether a table on the GPU may have more. */
  readonly mayHaveMore?: boolean;
  /** Keys in pages, with their name. */
  readonly k: Tensor;
  readonly kName: string;
}

/** Checks the sizes of a block table and of its pages, not yet the pages that it names. */
export function checkBlockTable(call: Call, args: BlockTableArgs): BlockTable {
  const { memory } = call;
  const { blockTable, mayHaveMore, k } = args;
  const checked = memory.keep('checked block table', [blockTable, args.nRows, mayHaveMore, k], () =>
    checkedTable(call, args),
  );
  const { pageSize, nPages, table, nRows, width, stride } = checked;
  // Of the same sizes the same object, whatever the page numbers, since the sizes are all that dispatches depend on.
  return memory.keep('block table', [pageSize, nPages, table, nRows, width, stride], () => checked);
}

function checkedTable(call: Call, args: BlockTableArgs): BlockTable {
  const { blockTable, mayHaveMore = false, k, kName } = args;
  const [nPages, pageSize] = k.shape as [number, number];
  if (pageSize === 0) call.refuse('shape', `${kName} has pages of 0 tokens.`);
  const dims = ['B', 'maxPages'];
  if (isTensor(blockTable)) checkForm(call, 'blockTable', blockTable, { dtypes: INTS, dims });
  const given = isTensor(blockTable) ? blockTable.shape[0]! : 0;
  const nRows = mayHaveMore ? Math.max(args.nRows, given) : args.nRows;
  const width = widthOf(blockTable, nRows);
  if (!Number.isInteger(width)) {
    call.refuse(
      'shape',
      `blockTable has ${(blockTable as Int32Array).length} numbers, which is not a multiple of the ${nRows} sequences.`,
    );
  }
  const table = checkInts(call, 'blockTable', blockTable, { dims, sizes: [nRows, width] });
  return { pageSize, nPages, table, nRows, width, stride: isTensor(table) ? stridesOf(table)[0]! : width };
}

/** Entries of a row; 0 for what is no table at all, which the check of its numbers then refuses. */
function widthOf(blockTable: Ints, nRows: number): number {
  if (isTensor(blockTable)) return blockTable.shape[1]!;
  return isHostArray(blockTable) && nRows > 0 ? blockTable.length / nRows : 0;
}

/** Keys that a row of the table has pages for. */
export function capacityOf({ nPages, width, pageSize }: BlockTable): number {
  return nPages > 0 ? Math.min(width * pageSize, MAX_LENGTH) : 0;
}

/** Checks that the row of each sequence has an entry for each page that it needs. */
export function checkTableWidth(call: Call, { pageSize, width }: BlockTable, kLen: Int32Array): void {
  const needed = (length: number): number => Math.ceil(length / pageSize);
  call.each(
    'length',
    kLen,
    (length) => needed(length) <= width,
    (b) =>
      `sequence ${b} needs ${needed(kLen[b]!)} pages for ${kLen[b]} keys but its row of blockTable has ${width}. Reserve pages first, or pass a wider table.`,
  );
}

/**
 * Checks, as far as the host knows, that the row of each sequence has a page for each key, and that each page which is
 * read or written exists. Entries before a window may be anything: a page manager frees these pages.
 */
export function checkTablePages(
  call: Call,
  blockTable: BlockTable,
  lengths: HostLengths | DeviceLengths,
  masks: Masks,
): void {
  if (!isHostLengths(lengths)) return;
  // Lengths are another object whenever they or the table have changed.
  call.memory.keep('checked pages', [blockTable, lengths, masks], () =>
    checkPages(call, blockTable, lengths, masks),
  );
}

function checkPages(call: Call, blockTable: BlockTable, lengths: HostLengths, masks: Masks): void {
  checkTableWidth(call, blockTable, lengths.kLen);
  const { pageSize, nPages, table, width } = blockTable;
  if (isTensor(table)) return;
  lengths.kLen.forEach((kLen, b) => {
    const firstUsed = Math.floor(firstUsedKey(lengths, b, masks) / pageSize);
    const endOfFirst = lengths.qLen[b]! > 0 && masks.firstKeys > 0 ? endOfFirstKeys(lengths, b, masks) : 0;
    const firstColumn = Math.min(
      firstUsed,
      endOfFirst > 0 ? Math.floor(lengths.firstKey[b]! / pageSize) : Infinity,
    );
    for (let column = firstColumn; column * pageSize < kLen; column++) {
      if (column < firstUsed && column * pageSize >= endOfFirst) continue;
      const page = table[lengths.row[b]! * width + column]!;
      if (page >= 0 && page < nPages) continue;
      const keys = keysInWords(column * pageSize, Math.min(kLen, (column + 1) * pageSize) - 1);
      call.refuse(
        'length',
        `blockTable gives sequence ${b} the page ${page} for ${keys}, but there are pages 0 to ${nPages - 1}. Reserve pages first.`,
      );
    }
  });
}

function keysInWords(first: number, last: number): string {
  return first === last ? `key ${first}` : `keys ${first} to ${last}`;
}

/** One past the first keys that the last query sees; 0 if there are none. */
function endOfFirstKeys(lengths: HostLengths, b: number, masks: Masks): number {
  const [kLen, firstKey] = [lengths.kLen[b]!, lengths.firstKey[b]!];
  const end = firstKeysEnd(kLen - 1, { firstKey, kLen }, masks);
  return end > firstKey ? end : 0;
}

/** The first key that a query sees or that is written, first keys left aside. */
function firstUsedKey(lengths: HostLengths, b: number, masks: Masks): number {
  const [kLen, qLen, firstKey] = [lengths.kLen[b]!, lengths.qLen[b]!, lengths.firstKey[b]!];
  const firstNew = lengths.nCached[b]!;
  if (qLen === 0) return firstNew;
  if (masksByPosition(masks) || masksByTree(masks))
    return Math.min(firstNew, firstSeenByToken(lengths, b, masks));
  return Math.min(firstNew, visibleBand(kLen - qLen, { firstKey, kLen }, masks)[0]);
}

/** Where only the GPU knows positions, windows and chunks may leave out any key. */
function firstSeenByToken(lengths: HostLengths, b: number, masks: Masks): number {
  const [kLen, qLen, firstKey] = [lengths.kLen[b]!, lengths.qLen[b]!, lengths.firstKey[b]!];
  const given = masksByPosition(masks) ? lengths.tokens!.positions : null;
  if (given && isTensor(given)) return masks.left >= 0 || masks.attentionChunk > 0 ? kLen : firstKey;
  const positions = given ? tokenPositions(given, firstTokenOf(masks.tokens!, lengths, b), qLen) : 'indices';
  const [first, last] = bandOfTokens({ firstKey, kLen, qLen, positions }, masks, 0, qLen - 1);
  return first <= last ? first : kLen;
}
