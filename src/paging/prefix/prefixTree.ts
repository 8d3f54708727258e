import { HashIndex } from './hashIndex.js';
import { grown } from '../pool/intBuffer.js';
import { hashTokens } from './pageHash.js';

/** What comes before the first page of a prompt, and what a search gives that finds none. */
export const NO_PREFIX = -1;

/** Tokens whose pages are shared with whatever has the same tokens and the same salt. */
export interface Prompt {
  readonly tokens: Int32Array;
  readonly salt: number;
}

/**
 * Beginnings of prompts, in whole pages. A prefix is a number; it stands for one page of tokens after those of another
 * prefix, its parent. So prefixes form trees, in which a search goes from parent to child.
 *
 * Hashes, each chained to that of the parent, only narrow the search: a prefix is found only if its parent and its tokens
 * are those asked for. A prefix is kept for as long as it is held or has children; then its number is used again.
 */
export class PrefixTree {
  readonly #pageSize: number;
  readonly #onRemove: (prefix: number) => void;
  #index: HashIndex;
  #tokens: Int32Array;
  // Of a number that is not in use: the next such number.
  #parents: Int32Array;
  #salts: Int32Array;
  // Children and holders.
  #counts: Int32Array;
  #capacity: number;
  #firstUnused = NO_PREFIX;
  #nNumbers = 0;

  /** With room for `capacity` prefixes, and for more when it takes more. Calls `onRemove` before a number is let go. */
  constructor(capacity: number, pageSize: number, onRemove: (prefix: number) => void) {
    this.#capacity = capacity;
    this.#pageSize = pageSize;
    this.#onRemove = onRemove;
    this.#index = new HashIndex(capacity);
    this.#tokens = new Int32Array(capacity * pageSize);
    this.#parents = new Int32Array(capacity);
    this.#salts = new Int32Array(capacity);
    this.#counts = new Int32Array(capacity);
  }

  /** The prefix that is a page shorter, or `NO_PREFIX`. */
  parent(prefix: number): number {
    return this.#parents[prefix]!;
  }

  /** How often a prefix is held, by its children too. */
  count(prefix: number): number {
    return this.#counts[prefix]!;
  }

  salt(prefix: number): number {
    return this.#salts[prefix]!;
  }

  /** The last tokens of a prefix, [pageSize]. */
  tokens(prefix: number): Int32Array {
    return this.#tokens.slice(prefix * this.#pageSize, (prefix + 1) * this.#pageSize);
  }

  /** Every prefix. */
  *all(): Iterable<number> {
    for (let prefix = 0; prefix < this.#nNumbers; prefix++) if (this.#counts[prefix]! > 0) yield prefix;
  }

  /** The prefix with the tokens of a column of the prompt after `parent`, or `NO_PREFIX`. */
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

  /** A prefix that `find` does not find. It must be held at once. */
  add(parent: number, prompt: Prompt, column: number): number {
    const prefix = this.#takeNumber();
    const start = column * this.#pageSize;
    for (let i = 0; i < this.#pageSize; i++)
      this.#tokens[prefix * this.#pageSize + i] = prompt.tokens[start + i]!;
    this.#parents[prefix] = parent;
    this.#salts[prefix] = prompt.salt;
    this.hold(parent);
    this.#index.add(prefix, this.#hash(parent, prompt, start));
    return prefix;
  }

  /** Keep a prefix, unless it is `NO_PREFIX`. */
  hold(prefix: number): void {
    if (prefix !== NO_PREFIX) this.#counts[prefix]!++;
  }

  /** Hold a prefix once less. */
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

  #takeNumber(): number {
    const prefix = this.#firstUnused;
    if (prefix !== NO_PREFIX) {
      this.#firstUnused = this.#parents[prefix]!;
      return prefix;
    }
    if (this.#nNumbers === this.#capacity) this.#grow();
    return this.#nNumbers++;
  }

  #grow(): void {
    this.#capacity = Math.max(16, 2 * this.#capacity);
    this.#tokens = grown(this.#tokens, this.#capacity * this.#pageSize);
    this.#parents = grown(this.#parents, this.#capacity);
    this.#salts = grown(this.#salts, this.#capacity);
    this.#counts = grown(this.#counts, this.#capacity);
    this.#index = this.#index.withCapacity(this.#capacity);
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
