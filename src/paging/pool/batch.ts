import { resized } from './intArrays.js';
import { NULL_PAGE } from './pagePool.js';
import type { PageTable } from './pageTable.js';
import { checkCount, refuseValue } from './pagingChecks.js';

/**
 * The sequences of a step as `attnWithKvCache` and its plan take them: pass it whole, or spread it among other
 * arguments. Sequence b of B computes its newest tokens, the rows cuSeqlensQ[b] to cuSeqlensQ[b + 1] − 1 of totalQ.
 *
 * It is one object, updated in place and valid until the next step is described. Its arrays are new objects only when
 * B, the width of the table or totalQ changes. What is no argument of the attention calls (`slotMapping`, `sequsedK`,
 * …) is for your own kernels.
 */
export interface Batch {
  /** B */
  readonly nSequences: number;
  /** totalQ */
  readonly nNewTokens: number;
  /** [B, tableWidth], row after row: the pages of each sequence, then −1. A page that has left the window is −1 as well. */
  readonly blockTable: Int32Array<ArrayBuffer>;
  readonly tableWidth: number;
  /** `[B]`: tokens in the cache before the new ones */
  readonly cacheSeqlens: Int32Array<ArrayBuffer>;
  /** `[B]`: tokens in the cache once the new ones are written */
  readonly sequsedK: Int32Array<ArrayBuffer>;
  /** `[B + 1]`: running sums of the new tokens */
  readonly cuSeqlensQ: Int32Array<ArrayBuffer>;
  /** `[B + 1]`: the same array, as the new tokens are the queries and the keys to append alike */
  readonly cuSeqlensKNew: Int32Array<ArrayBuffer>;
  /** Always undefined, so that a spread clears what a plan had: rows of `blockTable` are in the order of the batch. */
  readonly cacheBatchIdx: undefined;
  /** `[totalQ]`: the position of each new token in its sequence */
  readonly tokenPositions: Int32Array<ArrayBuffer>;
  /** `[totalQ]`: where each new token goes, page · pageSize + offset */
  readonly slotMapping: Int32Array<ArrayBuffer>;
  /** The most new tokens of a sequence */
  readonly maxSeqlenQ: number;
  /** The most of `sequsedK` */
  readonly maxSeqlenK: number;
}

const EMPTY = new Int32Array();

/** A batch, and the only code that writes page tables into arrays for the GPU. */
export class BatchArrays implements Batch {
  // Own properties, not accessors, since a spread copies nothing else.
  nSequences = 0;
  nNewTokens = 0;
  blockTable = EMPTY;
  tableWidth = 0;
  cacheSeqlens = EMPTY;
  sequsedK = EMPTY;
  cuSeqlensQ = EMPTY;
  cuSeqlensKNew = EMPTY;
  readonly cacheBatchIdx = undefined;
  tokenPositions = EMPTY;
  slotMapping = EMPTY;
  maxSeqlenQ = 0;
  maxSeqlenK = 0;
  readonly #pageSize: number;
  readonly #rows: Row[] = [];

  constructor(pageSize: number) {
    this.#pageSize = pageSize;
  }

  /** Describes a step that computes the newest `nNew[b]` tokens of each table. */
  update(tables: readonly PageTable[], nNew: ArrayLike<number>): void {
    this.nSequences = tables.length;
    this.#updateLengths(tables, nNew);
    this.#updateTokens(tables, nNew);
    this.#updateTable(tables);
  }

  #updateLengths(tables: readonly PageTable[], nNew: ArrayLike<number>): void {
    const cacheSeqlens = (this.cacheSeqlens = resized(this.cacheSeqlens, tables.length));
    const sequsedK = (this.sequsedK = resized(this.sequsedK, tables.length));
    const cuSeqlensQ = (this.cuSeqlensQ = resized(this.cuSeqlensQ, tables.length + 1));
    this.cuSeqlensKNew = cuSeqlensQ;
    let total = (cuSeqlensQ[0] = 0);
    let [maxSeqlenQ, maxSeqlenK] = [0, 0];
    for (let b = 0; b < tables.length; b++) {
      const { nTokens } = tables[b]!;
      const n = nNew[b]!;
      sequsedK[b] = nTokens;
      cacheSeqlens[b] = nTokens - n;
      cuSeqlensQ[b + 1] = total += n;
      maxSeqlenQ = Math.max(maxSeqlenQ, n);
      maxSeqlenK = Math.max(maxSeqlenK, nTokens);
    }
    this.nNewTokens = total;
    this.maxSeqlenQ = maxSeqlenQ;
    this.maxSeqlenK = maxSeqlenK;
  }

  #updateTokens(tables: readonly PageTable[], nNew: ArrayLike<number>): void {
    const tokenPositions = (this.tokenPositions = resized(this.tokenPositions, this.nNewTokens));
    const slotMapping = (this.slotMapping = resized(this.slotMapping, this.nNewTokens));
    let row = 0;
    for (let b = 0; b < tables.length; b++) {
      const table = tables[b]!;
      for (let position = table.nTokens - nNew[b]!; position < table.nTokens; position++) {
        const column = Math.floor(position / this.#pageSize);
        tokenPositions[row] = position;
        slotMapping[row++] = table.page(column) * this.#pageSize + (position - column * this.#pageSize);
      }
    }
  }

  #updateTable(tables: readonly PageTable[]): void {
    let nPages = 1;
    for (const table of tables) nPages = Math.max(nPages, table.nPages);
    const width = 2 ** (32 - Math.clz32(nPages - 1));
    // Rows move when the width changes, so it goes down only where a table four times too wide would be uploaded.
    const isKept = width <= this.tableWidth && this.tableWidth < 4 * width;
    if (!isKept) {
      this.tableWidth = width;
      for (const row of this.#rows) row.table = undefined;
    }
    const blockTable = (this.blockTable = resized(this.blockTable, tables.length * this.tableWidth));
    for (let b = 0; b < tables.length; b++) {
      const row = (this.#rows[b] ??= { table: undefined, version: 0, nPages: 0 });
      updateRow(blockTable, b * this.tableWidth, this.tableWidth, row, tables[b]!);
    }
  }
}

/** What a row of the block table contains. */
interface Row {
  table: PageTable | undefined;
  version: number;
  nPages: number;
}

function updateRow(blockTable: Int32Array, start: number, width: number, row: Row, table: PageTable): void {
  const isSame = row.table === table && row.version === table.version;
  if (!isSame) blockTable.fill(NULL_PAGE, start + table.nPages, start + width);
  for (let column = isSame ? row.nPages : 0; column < table.nPages; column++)
    blockTable[start + column] = table.page(column);
  row.table = table;
  row.version = table.version;
  row.nPages = table.nPages;
}

/**
 * Returns how many tokens at the start all sequences of a batch have in the same pages: whole pages, before anything
 * new. A cascade can attend to them once for all sequences. O(B · pages in common)
 *
 * ```ts
 * const nCommon = commonPrefix(batch, pages.pageSize); // 0 for one sequence, which shares with none
 * ```
 */
export function commonPrefix(batch: Batch, pageSize: number): number {
  if (!batch?.blockTable) refuseValue('commonPrefix', 'batch', 'a batch or a step', batch);
  checkCount('commonPrefix', 'pageSize', pageSize, 1);
  const { nSequences, blockTable, tableWidth, cacheSeqlens } = batch;
  if (nSequences < 2) return 0;
  let nPages = tableWidth;
  for (let b = 0; b < nSequences; b++) {
    const row = blockTable.subarray(b * tableWidth);
    const most = Math.min(nPages, Math.floor(cacheSeqlens[b]! / pageSize));
    nPages = 0;
    // A page that has left the window, −1, is nothing to attend to.
    while (nPages < most && row[nPages]! >= 0 && row[nPages] === blockTable[nPages]) nPages++;
  }
  return nPages * pageSize;
}
