import { NULL_PAGE, PageList } from './pageList.js';
import type { PageCopy } from './pageTable.js';

/** Whoever remembers what pages contain after nobody holds them any more. */
export interface PageContents {
  /** Whether the page may be asked for again, so that it is not to be written and is reused last. */
  has(page: number): boolean;
  /** The page is about to be reused. */
  forget(page: number): void;
}

const NO_CONTENTS: PageContents = { has: () => false, forget: () => undefined };

/**
 * The ids of a pool of pages: who is held how often, and who is free, in the order of eviction.
 *
 * A page is held (count > 0) or in the free list, never both. Pages whose content is worth nothing come first there,
 * then those with content, the one that became free longest ago first.
 */
export class PagePool {
  /** Tokens in a page. */
  readonly pageSize: number;
  readonly #contents: PageContents;
  readonly #free: PageList;
  readonly #counts: Int32Array;
  #nPages: number;
  #nFree: number;
  #nCached = 0;
  #nShared = 0;

  constructor(nPages: number, pageSize: number, contents: PageContents = NO_CONTENTS) {
    this.pageSize = pageSize;
    this.#contents = contents;
    this.#nPages = nPages;
    this.#nFree = nPages;
    this.#counts = new Int32Array(nPages);
    this.#free = new PageList(nPages);
    for (let page = 0; page < nPages; page++) this.#free.putLast(page);
  }

  /** Pages that are in use or may be. */
  get nPages(): number {
    return this.#nPages;
  }

  /** The most pages that there may be. */
  get capacity(): number {
    return this.#counts.length;
  }

  /** Pages that nobody holds, those with content included. */
  get nFree(): number {
    return this.#nFree;
  }

  /** Free pages whose content is remembered. */
  get nCached(): number {
    return this.#nCached;
  }

  /** Pages that are held more than once. */
  get nShared(): number {
    return this.#nShared;
  }

  /** How often the page is held. */
  count(page: number): number {
    return this.#counts[page]!;
  }

  /** Whether its one holder may write to the page. */
  isWritable(page: number): boolean {
    return this.#counts[page] === 1 && !this.#contents.has(page);
  }

  /** The free pages, those to be reused first in front. A new array. */
  freePages(): number[] {
    const pages: number[] = [];
    for (let page = this.#free.first; page !== NULL_PAGE; page = this.#free.after(page)) pages.push(page);
    return pages;
  }

  /** A free page, held once from now on and its content forgotten; `NULL_PAGE` if there is none. */
  take(): number {
    const page = this.#free.first;
    if (page === NULL_PAGE) return NULL_PAGE;
    this.hold(page);
    this.#contents.forget(page);
    return page;
  }

  /** Hold a page once more; a free one is revived with its content. */
  hold(page: number): void {
    const count = ++this.#counts[page]!;
    if (count === 2) this.#nShared++;
    if (count > 1) return;
    this.#free.remove(page);
    this.#nFree--;
    if (this.#contents.has(page)) this.#nCached--;
  }

  /** Let a free page be reused last of all. */
  touch(page: number): void {
    this.#free.remove(page);
    this.#free.putLast(page);
  }

  /** Hold a page once less. With content it then is reused right before the free page `next`, or last of all. */
  drop(page: number, next = NULL_PAGE): void {
    const count = --this.#counts[page]!;
    if (count === 1) this.#nShared--;
    if (count > 0) return;
    this.#nFree++;
    if (!this.#contents.has(page)) {
      this.#free.putFirst(page);
      return;
    }
    this.#nCached++;
    if (next === NULL_PAGE) this.#free.putLast(page);
    else this.#free.putBefore(page, next);
  }

  /** All content was forgotten. */
  contentsCleared(): void {
    this.#nCached = 0;
  }

  /**
   * Use the pages below `nPages` only, or again. Free pages go in the order of eviction; the others, if they lie above,
   * move to where one below went.
   *
   * Returns all moves, those of pages without content too, or `'full'`, and then nothing has changed.
   */
  resize(nPages: number): readonly PageCopy[] | 'full' {
    const nUsed = this.#nPages - this.#nFree;
    if (nUsed > nPages) return 'full';
    for (let page = nPages - 1; page >= this.#nPages; page--) this.#free.putFirst(page);
    for (let n = nPages; n < this.#nPages; n++) this.#evictFirst();
    const nOld = this.#nPages;
    this.#nPages = nPages;
    this.#nFree = nPages - nUsed;
    const moves: PageCopy[] = [];
    let target = 0;
    for (let page = nPages; page < nOld; page++) {
      if (!this.#isPresent(page)) continue;
      while (this.#isPresent(target)) target++;
      this.#rename(page, target);
      moves.push([page, target]);
    }
    return moves;
  }

  #evictFirst(): void {
    const page = this.#free.first;
    this.#free.remove(page);
    if (!this.#contents.has(page)) return;
    this.#nCached--;
    this.#contents.forget(page);
  }

  #isPresent(page: number): boolean {
    return this.#counts[page]! > 0 || this.#free.has(page);
  }

  #rename(page: number, target: number): void {
    this.#counts[target] = this.#counts[page]!;
    this.#counts[page] = 0;
    if (!this.#free.has(page)) return;
    this.#free.putBefore(target, page);
    this.#free.remove(page);
  }
}
