import { IntBuffer } from './intBuffer.js';
import { NULL_PAGE } from './pageList.js';
import type { PageTable } from './pageTable.js';

/**
 * The sequences of a step as `attnWithKvCache` and `attnVarlen` take them. Sequence b of B computes its newest tokens,
 * the rows cuSeqlensQ[b] to cuSeqlensQ[b + 1] − 1 of totalQ.
 *
 * Take its properties one by one, `const { blockTable, cacheSeqlens } = batch`: they are read when they are asked for, so
 * a spread copies none. The arrays are updated in place from step to step. They are valid until the next one, and new
 * objects only when B, the width of the table or totalQ changes.
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
  /** [B + 1]: running sums of the new tokens. They are the queries and the keys to append alike. */
  readonly cuSeqlensQ: Int32Array<ArrayBuffer>;
  /** [totalQ]: the position of each new token in its sequence */
  readonly positions: Int32Array<ArrayBuffer>;
  /** [totalQ]: where each new token goes, page · pageSize + offset */
  readonly slotMapping: Int32Array<ArrayBuffer>;
  /** The most new tokens of a sequence */
  readonly maxSeqlenQ: number;
  /** The most of `sequsedK` */
  readonly maxSeqlenK: number;
}

/** The one place where block tables become arrays for the GPU. */
export class BatchArrays implements Batch {
  readonly #pageSize: number;
  readonly #blockTable = new IntBuffer();
  readonly #cacheSeqlens = new IntBuffer();
  readonly #sequsedK = new IntBuffer();
  readonly #cuSeqlensQ = new IntBuffer();
  readonly #positions = new IntBuffer();
  readonly #slotMapping = new IntBuffer();
  readonly #rows: Row[] = [];
  #tableWidth = 0;
  #maxSeqlenQ = 0;
  #maxSeqlenK = 0;

  constructor(pageSize: number) {
    this.#pageSize = pageSize;
  }

  get nSequences(): number {
    return this.cacheSeqlens.length;
  }

  get nNewTokens(): number {
    return this.positions.length;
  }

  get blockTable(): Int32Array<ArrayBuffer> {
    return this.#blockTable.view;
  }

  get tableWidth(): number {
    return this.#tableWidth;
  }

  get cacheSeqlens(): Int32Array<ArrayBuffer> {
    return this.#cacheSeqlens.view;
  }

  get sequsedK(): Int32Array<ArrayBuffer> {
    return this.#sequsedK.view;
  }

  get cuSeqlensQ(): Int32Array<ArrayBuffer> {
    return this.#cuSeqlensQ.view;
  }

  get positions(): Int32Array<ArrayBuffer> {
    return this.#positions.view;
  }

  get slotMapping(): Int32Array<ArrayBuffer> {
    return this.#slotMapping.view;
  }

  get maxSeqlenQ(): number {
    return this.#maxSeqlenQ;
  }

  get maxSeqlenK(): number {
    return this.#maxSeqlenK;
  }

  /** Describe the first `nSequences` of `tables`, of which the newest `nNew` tokens each are to be computed. */
  update(tables: readonly PageTable[], nNew: ArrayLike<number>, nSequences: number): void {
    this.#updateLengths(tables, nNew, nSequences);
    this.#updateTokens(tables, nNew, nSequences);
    this.#updateTable(tables, nSequences);
  }

  #updateLengths(tables: readonly PageTable[], nNew: ArrayLike<number>, nSequences: number): void {
    const cacheSeqlens = this.#cacheSeqlens.resize(nSequences);
    const sequsedK = this.#sequsedK.resize(nSequences);
    const cuSeqlensQ = this.#cuSeqlensQ.resize(nSequences + 1);
    cuSeqlensQ[0] = 0;
    this.#maxSeqlenQ = 0;
    this.#maxSeqlenK = 0;
    for (let b = 0; b < nSequences; b++) {
      const { nTokens } = tables[b]!;
      sequsedK[b] = nTokens;
      cacheSeqlens[b] = nTokens - nNew[b]!;
      cuSeqlensQ[b + 1] = cuSeqlensQ[b]! + nNew[b]!;
      this.#maxSeqlenQ = Math.max(this.#maxSeqlenQ, nNew[b]!);
      this.#maxSeqlenK = Math.max(this.#maxSeqlenK, nTokens);
    }
  }

  #updateTokens(tables: readonly PageTable[], nNew: ArrayLike<number>, nSequences: number): void {
    const nNewTokens = this.cuSeqlensQ[nSequences]!;
    const positions = this.#positions.resize(nNewTokens);
    const slotMapping = this.#slotMapping.resize(nNewTokens);
    let row = 0;
    for (let b = 0; b < nSequences; b++) {
      const table = tables[b]!;
      for (let position = table.nTokens - nNew[b]!; position < table.nTokens; position++) {
        const column = Math.floor(position / this.#pageSize);
        positions[row] = position;
        slotMapping[row++] = table.page(column) * this.#pageSize + (position - column * this.#pageSize);
      }
    }
  }

  #updateTable(tables: readonly PageTable[], nSequences: number): void {
    let nPages = 1;
    for (let b = 0; b < nSequences; b++) nPages = Math.max(nPages, tables[b]!.nPages);
    const width = 2 ** (32 - Math.clz32(nPages - 1));
    // Rows move when the width changes, so it goes down only where a table four times too wide would be uploaded.
    const isKept = width <= this.#tableWidth && this.#tableWidth < 4 * width;
    if (!isKept) {
      this.#tableWidth = width;
      for (const row of this.#rows) row.table = undefined;
    }
    const blockTable = this.#blockTable.resize(nSequences * this.#tableWidth);
    for (let b = 0; b < nSequences; b++) {
      const row = (this.#rows[b] ??= { table: undefined, version: 0, nPages: 0 });
      updateRow(blockTable, b * this.#tableWidth, this.#tableWidth, row, tables[b]!);
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
