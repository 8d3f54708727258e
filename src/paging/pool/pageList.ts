/** Where a block table has no page, and what a search gives that finds none. */
export const NULL_PAGE = -1;

/** Pages in a row, linked through two arrays: put in, take out, also from the middle, all in O(1). */
export class PageList {
  // The last index is no page but the ring's seam: what follows it is the first page, what precedes it the last.
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #seam: number;

  constructor(capacity: number) {
    this.#seam = capacity;
    this.#next = new Int32Array(capacity + 1).fill(NULL_PAGE);
    this.#previous = new Int32Array(capacity + 1).fill(NULL_PAGE);
    this.clear();
  }

  /** The first page, or `NULL_PAGE`. */
  get first(): number {
    const page = this.#next[this.#seam]!;
    return page === this.#seam ? NULL_PAGE : page;
  }

  has(page: number): boolean {
    return this.#next[page] !== NULL_PAGE;
  }

  /** The page after this one, or `NULL_PAGE`. */
  after(page: number): number {
    const next = this.#next[page]!;
    return next === this.#seam ? NULL_PAGE : next;
  }

  putFirst(page: number): void {
    this.putBefore(page, this.#next[this.#seam]!);
  }

  putLast(page: number): void {
    this.putBefore(page, this.#seam);
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
    this.#previous[page] = NULL_PAGE;
  }

  clear(): void {
    this.#next.fill(NULL_PAGE);
    this.#previous.fill(NULL_PAGE);
    this.#next[this.#seam] = this.#seam;
    this.#previous[this.#seam] = this.#seam;
  }
}
