import { grown } from '../pool/intArrays.js';
import { HashIndex, hashTokens } from './hashIndex.js';

/** The parent of a prompt's first page, and what a search returns that finds none. */
export const NO_PREFIX = -1;

/** Tokens to look up. Only prompts of one salt have prefixes in common. */
export interface Prompt {
  readonly tokens: Int32Array;
  readonly salt: number;
}

/**
 * A tree of prefixes of prompts, in whole pages. A prefix is an id that stands for one page of tokens after those of
 * its parent; a search goes from parent to child.
 *
 * Hashes, each chained to that of the parent, only narrow the search: parent, tokens and salt are compared. A prefix
 * has a refcount, of holders and children; at zero it is removed, and its id is used again.
 */
export class PrefixTree {
  readonly #pageSize: number;
  readonly #onRemove: (prefix: number) => void;
  #index = new HashIndex(0);
  #tokens = new Int32Array();
  // Of an id that is not in use: the next such id.
  #parents = new Int32Array();
  #salts = new Int32Array();
  #counts = new Int32Array();
  #firstUnused = NO_PREFIX;
  #nIds = 0;

  /** With room for `capacity` prefixes at first. Calls `onRemove` before a prefix is removed. */
  constructor(capacity: number, pageSize: number, onRemove: (prefix: number) => void) {
    this.#pageSize = pageSize;
    this.#onRemove = onRemove;
    this.#grow(capacity);
  }

  /** The prefix that is a page shorter, or `NO_PREFIX`. */
  parent(prefix: number): number {
    return this.#parents[prefix]!;
  }

  /** The refcount of a prefix: its holders and children. */
  count(prefix: number): number {
    return this.#counts[prefix]!;
  }

  salt(prefix: number): number {
    return this.#salts[prefix]!;
  }

  /** `[pageSize]`: the last tokens of a prefix. */
  tokens(prefix: number): Int32Array {
    return this.#tokens.slice(prefix * this.#pageSize, (prefix + 1) * this.#pageSize);
  }

  *all(): Iterable<number> {
    for (let prefix = 0; prefix < this.#nIds; prefix++) if (this.#counts[prefix]! > 0) yield prefix;
  }

  /**
   * The child of `parent` with the tokens of a page of the prompt, the one in `column`; `NO_PREFIX` if there is none.
   */
  find(parent: number, prompt: Prompt, column: number): number {
    const { tokens, salt } = prompt;
    const start = column * this.#pageSize;
    const hash = this.#hash(parent, prompt, start);
    const index = this.#index;
    for (let place = index.start(hash); index.at(place) >= 0; place = index.next(place)) {
      const prefix = index.at(place);
      if (index.hash(prefix) !== hash || this.#parents[prefix] !== parent) continue;
      if (this.#salts[prefix] === salt && this.#endsWith(prefix, tokens, start)) return prefix;
    }
    return NO_PREFIX;
  }

  /** Adds what `find` does not find. The caller must hold it at once. */
  add(parent: number, prompt: Prompt, column: number): number {
    const prefix = this.#takeId();
    const start = column * this.#pageSize;
    for (let i = 0; i < this.#pageSize; i++)
      this.#tokens[prefix * this.#pageSize + i] = prompt.tokens[start + i]!;
    this.#parents[prefix] = parent;
    this.#salts[prefix] = prompt.salt;
    this.hold(parent);
    this.#index.add(prefix, this.#hash(parent, prompt, start));
    return prefix;
  }

  /** Adds one to the refcount. `NO_PREFIX` has none. */
  hold(prefix: number): void {
    if (prefix !== NO_PREFIX) this.#counts[prefix]!++;
  }

  /** Subtracts one from the refcount. A prefix that is removed drops its parent. */
  drop(prefix: number): void {
    let next = prefix;
    while (next !== NO_PREFIX && --this.#counts[next]! === 0) {
      const parent = this.#parents[next]!;
      this.#onRemove(next);
      this.#index.remove(next);
      this.#parents[next] = this.#firstUnused;
      this.#firstUnused = next;
      next = parent;
    }
  }

  #takeId(): number {
    const prefix = this.#firstUnused;
    if (prefix !== NO_PREFIX) {
      this.#firstUnused = this.#parents[prefix]!;
      return prefix;
    }
    const capacity = this.#counts.length;
    if (this.#nIds === capacity) this.#grow(Math.max(16, 2 * capacity));
    return this.#nIds++;
  }

  #grow(capacity: number): void {
    this.#tokens = grown(this.#tokens, capacity * this.#pageSize);
    this.#parents = grown(this.#parents, capacity);
    this.#salts = grown(this.#salts, capacity);
    this.#counts = grown(this.#counts, capacity);
    this.#index = this.#index.withCapacity(capacity);
  }

  #hash(parent: number, { tokens, salt }: Prompt, start: number): number {
    return hashTokens(parent === NO_PREFIX ? salt : this.#index.hash(parent), tokens, start, this.#pageSize);
  }

  #endsWith(prefix: number, tokens: Int32Array, start: number): boolean {
    const own = prefix * this.#pageSize;
    for (let i = 0; i < this.#pageSize; i++) if (this.#tokens[own + i] !== tokens[start + i]) return false;
    return true;
  }
}
