import type { ManagedSequence } from '../managedSequence.js';
import { NULL_PAGE } from '../pool/pageList.js';
import { NO_PREFIX } from './prefixTree.js';
import type { PrefixCache } from './prefixCache.js';

/** The first column that must be there for a sequence to go on after `nColumns`. */
type FirstNeeded = (nColumns: number) => number;

/** The published pages that a sequence begins with. Asked again with nothing changed, it answers without a search. */
export class PrefixSearch {
  readonly #cache: PrefixCache;
  readonly #firstNeeded: FirstNeeded;
  #prefixes = new Int32Array(16);
  #nFound = 0;
  #sequence: ManagedSequence | undefined;
  #nTruncations = 0;
  #cacheVersion = 0;
  #most = 0;

  constructor(cache: PrefixCache, firstNeeded: FirstNeeded) {
    this.#cache = cache;
    this.#firstNeeded = firstNeeded;
  }

  /** How many of the first `most` columns need not be computed, as the pages that are needed after them are there. */
  find(sequence: ManagedSequence, most: number): number {
    const isKnown =
      this.#sequence === sequence &&
      this.#nTruncations === sequence.nTruncations &&
      this.#cacheVersion === this.#cache.version &&
      this.#most === most;
    if (!isKnown) this.#search(sequence, most);
    return this.#nFound;
  }

  /** What was found last, up to and with a column. */
  prefix(column: number): number {
    return this.#prefixes[column]!;
  }

  /** The page of a column that is needed after what was found last. */
  page(column: number): number {
    return this.#cache.page(this.#prefixes[column]!);
  }

  #search(sequence: ManagedSequence, most: number): void {
    this.#sequence = sequence;
    this.#nTruncations = sequence.nTruncations;
    this.#cacheVersion = this.#cache.version;
    this.#most = most;
    this.#nFound = 0;
    if (this.#prefixes.length < most) this.#prefixes = new Int32Array(2 * most);
    let prefix = NO_PREFIX;
    // The columns from here on are there.
    let firstPresent = 0;
    for (let column = 0; column < most; column++) {
      prefix = this.#cache.find(prefix, sequence, column);
      if (prefix === NO_PREFIX) return;
      this.#prefixes[column] = prefix;
      if (this.#cache.page(prefix) === NULL_PAGE) firstPresent = column + 1;
      else if (firstPresent === 0 || firstPresent <= this.#firstNeeded(column + 1)) this.#nFound = column + 1;
    }
  }
}
