import { NULL_PAGE } from './pageList.js';

/**
 * Pages by hash: a table with linear probing, each page at the place of its hash or at the next one that was free.
 *
 * ```ts
 * for (let place = index.start(hash); index.at(place) !== NULL_PAGE; place = index.next(place)) …
 * ```
 */
export class PageIndex {
  readonly #hashes: Int32Array;
  readonly #places: Int32Array;
  readonly #mask: number;

  /** At most half of the places are ever in use, so that searches are short and end. */
  constructor(nPages: number) {
    const nPlaces = 2 ** (33 - Math.clz32(nPages));
    this.#hashes = new Int32Array(nPages);
    this.#places = new Int32Array(nPlaces).fill(NULL_PAGE);
    this.#mask = nPlaces - 1;
  }

  /** The hash under which the page was added. */
  hash(page: number): number {
    return this.#hashes[page]!;
  }

  start(hash: number): number {
    return hash & this.#mask;
  }

  next(place: number): number {
    return (place + 1) & this.#mask;
  }

  at(place: number): number {
    return this.#places[place]!;
  }

  add(page: number, hash: number): void {
    this.#hashes[page] = hash;
    let place = this.start(hash);
    while (this.#places[place] !== NULL_PAGE) place = this.next(place);
    this.#places[place] = page;
  }

  /** Closes the gap, so that no search ends before what comes after it. */
  remove(page: number): void {
    let gap = this.start(this.#hashes[page]!);
    while (this.#places[gap] !== page) gap = this.next(gap);
    for (let place = this.next(gap); this.#places[place] !== NULL_PAGE; place = this.next(place)) {
      const other = this.#places[place]!;
      const fromHome = (place - this.start(this.#hashes[other]!)) & this.#mask;
      const fromGap = (place - gap) & this.#mask;
      if (fromHome < fromGap) continue;
      this.#places[gap] = other;
      gap = place;
    }
    this.#places[gap] = NULL_PAGE;
  }
}
