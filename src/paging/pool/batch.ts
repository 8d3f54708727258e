import { IntBuffer } from './intBuffer.js';
import { NULL_PAGE } from './pageList.js';
import type { PageTable } from './pageTable.js';

/**
 * The sequences of a step as `attnWithKvCache` and its plan take them: pass it whole, or spread it among other arguments.
 * Sequence b of B computes its newest tokens, the rows cuSeqlensQ[b] to cuSeqlensQ[b + 1] − 1 of totalQ.
 *
 * It is one object whose numbers and arrays are updated in place, valid until the next step is described. The arrays are
 * new objects only when B, the width of the table or totalQ changes. What is no argument of an attention (`slotMapping`,
 * `sequsedK`, …) is for kernels of one's own.
 */
export interface Batch {
  /** B */
  readonly nSequences: number;
  /** totalQ */
  readonly nNewTokens: number;
  /** [B, tableWidth], row after row: the pages of each sequence, then −1. A page behind the window is −1 as well. */
  readonly blockTable: Int32Array<ArrayBuffer>;
  readonly tableWidth: number;
  /** [B]: tokens in the cache before the new ones */
  readonly cacheSeqlens: Int32Array<ArrayBuffer>;
  /** [B]: tokens in the cache once the new ones are written */
  readonly sequsedK: Int32Array<ArrayBuffer>;
  /** [B + 1]: running sums of the new tokens */
  readonly cuSeqlensQ: Int32Array<ArrayBuffer>;
  /** [B + 1]: the same array, as the new tokens are the queries and the keys to append alike */
  readonly cuSeqlensKNew: Int32Array<ArrayBuffer>;
  /** None, so that a spread clears one that a plan had: rows of `blockTable` are in the order of the batch. */
  readonly cacheBatchIdx: undefined;
  /** [totalQ]: the position of each new token in its sequence */
  readonly tokenPositions: Int32Array<ArrayBuffer>;
  /** [totalQ]: where each new token goes, page · pageSize + offset */
  readonly slotMapping: Int32Array<ArrayBuffer>;
  /** The most new tokens of a sequence */
  readonly maxSeqlenQ: number;
  /** The most of `sequsedK` */
  readonly maxSeqlenK: number;
}

const EMPTY = new Int32Array();

/** The one place where block tables become arrays for the GPU: a batch, and what writes it. */
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
  readonly #blockTable = new IntBuffer();
  readonly #cacheSeqlens = new IntBuffer();
  readonly #sequsedK = new IntBuffer();
  readonly #cuSeqlensQ = new IntBuffer();
  readonly #tokenPositions = new IntBuffer();
  readonly #slotMapping = new IntBuffer();
  readonly #rows: Row[] = [];

  constructor(pageSize: number) {
    this.#pageSize = pageSize;
  }

  /** Describe the first `nSequences` of `tables`, of which the newest `nNew` tokens each are to be computed. */
  update(tables: readonly PageTable[], nNew: ArrayLike<number>, nSequences: number): void {
    this.nSequences = nSequences;
    this.#updateLengths(tables, nNew, nSequences);
    this.#updateTokens(tables, nNew, nSequences);
    this.#updateTable(tables, nSequences);
  }

  #updateLengths(tables: readonly PageTable[], nNew: ArrayLike<number>, nSequences: number): void {
    const cacheSeqlens = (this.cacheSeqlens = this.#cacheSeqlens.resize(nSequences));
    const sequsedK = (this.sequsedK = this.#sequsedK.resize(nSequences));
    const cuSeqlensQ = (this.cuSeqlensQ = this.#cuSeqlensQ.resize(nSequences + 1));
    this.cuSeqlensKNew = cuSeqlensQ;
    cuSeqlensQ[0] = 0;
    this.maxSeqlenQ = 0;
    this.maxSeqlenK = 0;
    for (let b = 0; b < nSequences; b++) {
      const { nTokens } = tables[b]!;
      sequsedK[b] = nTokens;
      cacheSeqlens[b] = nTokens - nNew[b]!;
      cuSeqlensQ[b + 1] = cuSeqlensQ[b]! + nNew[b]!;
      this.maxSeqlenQ = Math.max(this.maxSeqlenQ, nNew[b]!);
      this.maxSeqlenK = Math.max(this.maxSeqlenK, nTokens);
    }
    this.nNewTokens = cuSeqlensQ[nSequences]!;
  }

  #updateTokens(tables: readonly PageTable[], nNew: ArrayLike<number>, nSequences: number): void {
    const tokenPositions = (this.tokenPositions = this.#tokenPositions.resize(this.nNewTokens));
    const slotMapping = (this.slotMapping = this.#slotMapping.resize(this.nNewTokens));
    let row = 0;
    for (let b = 0; b < nSequences; b++) {
      const table = tables[b]!;
      for (let position = table.nTokens - nNew[b]!; position < table.nTokens; position++) {
        const column = Math.floor(position / this.#pageSize);
        tokenPositions[row] = position;
        slotMapping[row++] = table.page(column) * this.#pageSize + (position - column * this.#pageSize);
      }
    }
  }

  #updateTable(tables: readonly PageTable[], nSequences: number): void {
    let nPages = 1;
    for (let b = 0; b < nSequences; b++) nPages = Math.max(nPages, tables[b]!.nPages);
    const width = 2 ** (32 - Math.clz32(nPages - 1));
    // Rows move when the width changes, so it goes down only where a table four times too wide would be uploaded.
    const isKept = width <= this.tableWidth && this.tableWidth < 4 * width;
    if (!isKept) {
      this.tableWidth = width;
      for (const row of this.#rows) row.table = undefined;
    }
    const blockTable = (this.blockTable = this.#blockTable.resize(nSequences * this.tableWidth));
    for (let b = 0; b < nSequences; b++) {
      const row = (this.#rows[b] ??= { table: undefined, version: 0, nPages: 0 });
      updateRow(blockTable, b * this.tableWidth, this.tableWidth, row, tables[b]!);
    }
  }
}

/** What a row of the block table shows. */
interface Row {
  table: PageTable | undefined;
  version: number;
  nPages: number;
}

function updateRow(blockTable: Int32Array, start: number, width: number, row: Row, table: PageTable): void {
  const isSame = row.table === table && row.version === table.version;
  if (!isSame) blockTable.fill(NULL_PAGE, start, start + width);
  for (let column = isSame ? row.nPages : table.firstPage; column < table.nPages; column++)
    blockTable[start + column] = table.page(column);
  row.table = table;
  row.version = table.version;
  row.nPages = table.nPages;
}
