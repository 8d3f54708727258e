import type { ManagedSequence } from './managedSequence.js';
import { NULL_PAGE } from './pageList.js';
import type { PrefixCache } from './prefixCache.js';

/** The published pages that a sequence begins with. Asked again with nothing changed, it answers without a search. */
export class PrefixSearch {
  readonly #cache: PrefixCache;
  #pages = new Int32Array(16);
  #nPages = 0;
  #sequence: ManagedSequence | undefined;
  #nTruncations = 0;
  #cacheVersion = 0;
  #most = 0;

  constructor(cache: PrefixCache) {
    this.#cache = cache;
  }

  /** How many pages there are for the first `most` columns, without a gap. */
  find(sequence: ManagedSequence, most: number): number {
    const isKnown =
      this.#sequence === sequence &&
      this.#nTruncations === sequence.nTruncations &&
      this.#cacheVersion === this.#cache.version &&
      this.#most === most;
    if (!isKnown) this.#search(sequence, most);
    return this.#nPages;
  }

  /** A page of what was found last. */
  page(column: number): number {
    return this.#pages[column]!;
  }

  #search(sequence: ManagedSequence, most: number): void {
    this.#sequence = sequence;
    this.#nTruncations = sequence.nTruncations;
    this.#cacheVersion = this.#cache.version;
    this.#most = most;
    this.#nPages = 0;
    if (this.#pages.length < most) this.#pages = new Int32Array(2 * most);
    let page = NULL_PAGE;
    while (this.#nPages < most) {
      page = this.#cache.find(page, sequence, this.#nPages);
      if (page === NULL_PAGE) return;
      this.#pages[this.#nPages++] = page;
    }
  }
}
