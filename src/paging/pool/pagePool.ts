/** Where a block table has no page, and what a search returns that finds none. */
export const NULL_PAGE = -1;

/** Copy a page to another one, in every layer. */
export type PageCopy = readonly [source: number, target: number];

/** Remembers what pages contain after they have become free. */
export interface PageContents {
  /** Whether the content may be asked for again: such a page is not written, and is reused last. */
  has(page: number): boolean;
  /** The page is about to be reused. */
  forget(page: number): void;
}

const NO_CONTENTS: PageContents = { has: () => false, forget: () => undefined };

/**
 * Reference counts of pages, and the free list in eviction order.
 *
 * A page is either held (refcount > 0) or in the free list. First in the list are pages without content, then those
 * with content, least recently used first.
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

  /** Pages that may be used. */
  get nPages(): number {
    return this.#nPages;
  }

  /** The most pages that `resize` allows. */
  get capacity(): number {
    return this.#counts.length;
  }

  /** Free pages, those with content included. */
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

  /** The refcount of a page. */
  count(page: number): number {
    return this.#counts[page]!;
  }

  /** Whether the page may be written: nothing else holds it, and its content is not asked for. */
  isWritable(page: number): boolean {
    return this.#counts[page] === 1 && !this.#contents.has(page);
  }

  /** Whether the page is in the free list. */
  isFree(page: number): boolean {
    return page >= 0 && this.#free.has(page);
  }

  /** The free pages in eviction order. A new array. */
  freePages(): number[] {
    const pages: number[] = [];
    for (let page = this.#free.first; page !== NULL_PAGE; page = this.#free.after(page)) pages.push(page);
    return pages;
  }

  /** Takes the first free page: it is held once, and its content is forgotten. `NULL_PAGE` if there is none. */
  take(): number {
    const page = this.#free.first;
    if (page === NULL_PAGE) return NULL_PAGE;
    this.hold(page);
    this.#contents.forget(page);
    return page;
  }

  /** Adds one to the refcount. A free page leaves the free list with its content. */
  hold(page: number): void {
    const count = ++this.#counts[page]!;
    if (count === 2) this.#nShared++;
    if (count > 1) return;
    this.#free.remove(page);
    this.#nFree--;
    if (this.#contents.has(page)) this.#nCached--;
  }

  /** Makes a free page the most recently used one. */
  touch(page: number): void {
    this.#free.remove(page);
    this.#free.putLast(page);
  }

  /**
   * Subtracts one from the refcount. A page that becomes free goes to the front of the free list if it has no content,
   * else right before the free page `next`, or to the end.
   */
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

  /** Forgets the content of all pages. */
  forgetAll(): void {
    for (let page = 0; page < this.capacity; page++) this.#contents.forget(page);
    this.#nCached = 0;
  }

  /**
   * Uses only the pages below `nPages`, which may be more than now. Pages that are too many are evicted in order; the
   * others, where they lie above, move into the gaps below.
   *
   * Returns all moves, also those of pages without content, or `'full'` if more pages are held; then nothing has
   * changed.
   */
  resize(nPages: number): readonly PageCopy[] | 'full' {
    const nUsed = this.#nPages - this.#nFree;
    if (nUsed > nPages) return 'full';
    for (let page = nPages - 1; page >= this.#nPages; page--) this.#free.putFirst(page);
    // A page that is neither held nor free is not there.
    for (let n = nPages; n < this.#nPages; n++) this.#counts[this.take()] = 0;
    const nOld = this.#nPages;
    this.#nPages = nPages;
    this.#nFree = nPages - nUsed;
    const moves: PageCopy[] = [];
    let target = 0;
    for (let page = nPages; page < nOld; page++) {
      if (!this.#isThere(page)) continue;
      while (this.#isThere(target)) target++;
      this.#rename(page, target);
      moves.push([page, target]);
    }
    return moves;
  }

  #isThere(page: number): boolean {
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

/** A doubly linked list of pages in two arrays: inserts and removes anywhere in O(1). */
class PageList {
  // The list is a ring. The last index is no page but where the ring begins: the first page follows it.
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #head: number;

  constructor(capacity: number) {
    this.#head = capacity;
    this.#next = new Int32Array(capacity + 1).fill(NULL_PAGE);
    this.#previous = new Int32Array(capacity + 1).fill(NULL_PAGE);
    this.#next[capacity] = capacity;
    this.#previous[capacity] = capacity;
  }

  /** The first page, or `NULL_PAGE`. */
  get first(): number {
    const page = this.#next[this.#head]!;
    return page === this.#head ? NULL_PAGE : page;
  }

  has(page: number): boolean {
    return this.#next[page] !== NULL_PAGE;
  }

  /** The page after this one, or `NULL_PAGE`. */
  after(page: number): number {
    const next = this.#next[page]!;
    return next === this.#head ? NULL_PAGE : next;
  }

  putFirst(page: number): void {
    this.putBefore(page, this.#next[this.#head]!);
  }

  putLast(page: number): void {
    this.putBefore(page, this.#head);
  }

  putBefore(page: number, next: number): void {
    const previous = this.#previous[next]!;
    this.#next[previous] = page;
    this.#previous[page] = previous;
    this.#next[page] = next;
    this.#previous[next] = page;
  }

  remove(page: number): void {
    const next = this.#next[page]!;
    const previous = this.#previous[page]!;
    this.#next[previous] = next;
    this.#previous[next] = previous;
    this.#next[page] = NULL_PAGE;
  }
}
