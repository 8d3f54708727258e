import { grown } from './intArrays.js';
import { NULL_PAGE, type PageCopy, type PagePool } from './pagePool.js';

const NO_COPIES: readonly PageCopy[] = [];

/** The pages of one sequence in order: a row of the block table. It holds each of its pages once. */
export class PageTable {
  readonly #pool: PagePool;
  #pages: Int32Array;
  #nPages = 0;
  #nTokens = 0;
  #firstPage = 0;
  #version = 0;

  constructor(pool: PagePool, capacity = 4) {
    this.#pool = pool;
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

  /** The first column that has a page; `nPages` if none has. */
  get firstPage(): number {
    return this.#firstPage;
  }

  /** A number that changes with every change other than pages added at the end. */
  get version(): number {
    return this.#version;
  }

  /** The page of a column, `NULL_PAGE` if it was given back. */
  page(column: number): number {
    return this.#pages[column]!;
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

  /** Adds a full page, which is held already, at the end; `NULL_PAGE` for one before the window. */
  adopt(page: number): void {
    if (page === NULL_PAGE && this.#firstPage === this.#nPages) this.#firstPage++;
    this.#push(page);
    this.#nTokens += this.#pool.pageSize;
  }

  /** Replaces the page of a column by one that is held already. */
  replace(column: number, page: number): void {
    const old = this.#pages[column]!;
    this.#pages[column] = page;
    this.#version++;
    this.#pool.drop(old);
  }

  /** Keeps the first `nTokens`. Pages are given back from the end, into the free list right before the page `next`. */
  shrink(nTokens: number, next = NULL_PAGE): void {
    const nKept = Math.ceil(nTokens / this.#pool.pageSize);
    if (nKept < this.#nPages) this.#version++;
    for (let column = this.#nPages - 1; column >= nKept; column--) this.#giveBack(column, next);
    this.#nPages = nKept;
    this.#firstPage = Math.min(this.#firstPage, nKept);
    this.#nTokens = nTokens;
  }

  /** Gives back the pages before a column after `firstPage`, into the free list right before the page `next`. */
  dropBefore(column: number, next = NULL_PAGE): void {
    for (let before = column - 1; before >= this.#firstPage; before--) {
      this.#giveBack(before, next);
      this.#pages[before] = NULL_PAGE;
    }
    this.#firstPage = column;
    this.#version++;
  }

  /** Changes the ids of pages that have moved. */
  rename(targets: ReadonlyMap<number, number>): void {
    for (let column = this.#firstPage; column < this.#nPages; column++)
      this.#pages[column] = targets.get(this.#pages[column]!) ?? this.#pages[column]!;
    this.#version++;
  }

  /** A second table with the same pages. */
  clone(): PageTable {
    const copy = new PageTable(this.#pool, this.#pages.length);
    copy.#pages.set(this.#pages);
    copy.#nPages = this.#nPages;
    copy.#nTokens = this.#nTokens;
    copy.#firstPage = this.#firstPage;
    for (let column = this.#firstPage; column < this.#nPages; column++) this.#pool.hold(this.#pages[column]!);
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
