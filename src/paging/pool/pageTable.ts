import { grown } from './intArrays.js';
import { NULL_PAGE, type PageCopy, type PagePool } from './pagePool.js';

const NO_COPIES: readonly PageCopy[] = [];

/** Columns of a sequence that have no page, as they have left its window: from `start` up to `end`. */
export interface PageGap {
  readonly start: number;
  readonly end: number;
}

export const NO_GAP: PageGap = { start: 0, end: 0 };

/** How many of the first `nColumns` columns have a page. */
export function heldBefore({ start, end }: PageGap, nColumns: number): number {
  return Math.min(nColumns, start) + Math.max(0, nColumns - end);
}

/** The column of page `i` of those that there are. */
export function heldColumn({ start, end }: PageGap, i: number): number {
  return i < start ? i : i + end - start;
}

/** The pages of one sequence in order: a row of the block table. It holds each of its pages once. */
export class PageTable {
  readonly #pool: PagePool;
  /** Columns at the start that are never given back but from the end. */
  readonly #nKept: number;
  #pages: Int32Array;
  #nPages = 0;
  #nTokens = 0;
  #gap = NO_GAP;
  #version = 0;

  constructor(pool: PagePool, nKept: number, capacity = 4) {
    this.#pool = pool;
    this.#nKept = nKept;
    this.#pages = new Int32Array(capacity);
  }

  /** Tokens that have a slot. */
  get nTokens(): number {
    return this.#nTokens;
  }

  /** Columns, those whose page was given back included. */
  get nPages(): number {
    return this.#nPages;
  }

  /** The columns whose pages were given back. */
  get gap(): PageGap {
    return this.#gap;
  }

  /** Pages that it holds. */
  get nHeld(): number {
    return heldBefore(this.#gap, this.#nPages);
  }

  /** A number that changes with every change other than pages added at the end. */
  get version(): number {
    return this.#version;
  }

  /** The page of a column, `NULL_PAGE` if it was given back. */
  page(column: number): number {
    return this.#pages[column]!;
  }

  /** Page `i` of those that it holds. */
  heldPage(i: number): number {
    return this.#pages[heldColumn(this.#gap, i)]!;
  }

  /** The pages that it holds, in order. */
  heldPages(): number[] {
    return Array.from({ length: this.nHeld }, (_, i) => this.heldPage(i));
  }

  /** The page that `grow` has to copy before tokens up to `nTokens` are written, or `NULL_PAGE`. */
  copySource(nTokens: number): number {
    if (nTokens === this.#nTokens || this.#nTokens % this.#pool.pageSize === 0) return NULL_PAGE;
    const last = this.#pages[this.#nPages - 1]!;
    return this.#pool.isWritable(last) ? NULL_PAGE : last;
  }

  /** Free pages that `grow` takes. */
  nMissing(nTokens: number): number {
    const nNew = Math.ceil(nTokens / this.#pool.pageSize) - this.#nPages;
    return this.copySource(nTokens) === NULL_PAGE ? nNew : nNew + 1;
  }

  /**
   * Makes room up to `nTokens`; there must be enough free pages. Copy-on-write: where tokens go into a page that must
   * stay as it is, a copy takes its place.
   *
   * Returns what must be copied before anything is written.
   */
  grow(nTokens: number): readonly PageCopy[] {
    const source = this.copySource(nTokens);
    let copies = NO_COPIES;
    if (source !== NULL_PAGE) {
      const target = this.#pool.take();
      this.replace(this.#nPages - 1, target);
      copies = [[source, target]];
    }
    while (this.#nPages * this.#pool.pageSize < nTokens) this.#push(this.#pool.take());
    this.#nTokens = nTokens;
    return copies;
  }

  /** Adds a full page, which is held already, at the end; `NULL_PAGE` for one that the window has left. */
  adopt(page: number): void {
    this.#push(page);
    if (page === NULL_PAGE) this.#gap = { start: this.#nKept, end: this.#nPages };
    this.#nTokens += this.#pool.pageSize;
  }

  /** Adds the columns of a gap, up to which it has pages. */
  adoptGap({ start, end }: PageGap): void {
    for (let column = start; column < end; column++) this.adopt(NULL_PAGE);
  }

  /** Replaces the page of a column by one that is held already. */
  replace(column: number, page: number): void {
    const old = this.#pages[column]!;
    this.#pages[column] = page;
    this.#version++;
    this.#pool.drop(old);
  }

  /**
   * Keeps the first `nTokens`. Pages are given back from the end: those behind the gap into the free list right before the
   * page `next`, those before it at its end.
   */
  shrink(nTokens: number, next = NULL_PAGE): void {
    const nColumns = Math.ceil(nTokens / this.#pool.pageSize);
    const { start, end } = this.#gap;
    if (nColumns < this.#nPages) this.#version++;
    for (let column = this.#nPages - 1; column >= nColumns; column--)
      this.#giveBack(column, column < end ? NULL_PAGE : next);
    this.#nPages = nColumns;
    this.#gap = nColumns <= start ? NO_GAP : { start, end: Math.min(end, nColumns) };
    this.#nTokens = nTokens;
  }

  /**
   * Widens the gap up to a column behind it, and behind those that are kept. Its pages go into the free list right before the
   * page `next`.
   */
  dropBefore(column: number, next = NULL_PAGE): void {
    const first = Math.max(this.#nKept, this.#gap.end);
    for (let before = column - 1; before >= first; before--) {
      this.#giveBack(before, next);
      this.#pages[before] = NULL_PAGE;
    }
    this.#gap = { start: this.#nKept, end: column };
    this.#version++;
  }

  /** Changes the ids of pages that have moved. */
  rename(targets: ReadonlyMap<number, number>): void {
    for (let column = 0; column < this.#nPages; column++)
      this.#pages[column] = targets.get(this.#pages[column]!) ?? this.#pages[column]!;
    this.#version++;
  }

  /** A second table with the same pages. */
  clone(): PageTable {
    const copy = new PageTable(this.#pool, this.#nKept, this.#pages.length);
    copy.#pages.set(this.#pages);
    copy.#nPages = this.#nPages;
    copy.#nTokens = this.#nTokens;
    copy.#gap = this.#gap;
    for (let column = 0; column < this.#nPages; column++)
      if (this.#pages[column] !== NULL_PAGE) this.#pool.hold(this.#pages[column]!);
    return copy;
  }

  #push(page: number): void {
    if (this.#nPages === this.#pages.length) this.#pages = grown(this.#pages);
    this.#pages[this.#nPages++] = page;
  }

  #giveBack(column: number, next: number): void {
    const page = this.#pages[column]!;
    if (page !== NULL_PAGE) this.#pool.drop(page, next);
  }
}
