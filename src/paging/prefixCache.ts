import { hashTokens } from './pageHash.js';
import { PageIndex } from './pageIndex.js';
import { NULL_PAGE } from './pageList.js';
import type { PageContents } from './pagePool.js';
import type { PageCopy } from './pageTable.js';

/** Tokens whose pages are shared with whoever has the same tokens and the same salt. */
export interface Prompt {
  readonly tokens: Int32Array;
  readonly salt: number;
}

/** What becomes of the content of pages, for those who send prompts to where they are cached. */
export type PageEvent =
  | {
      readonly type: 'stored';
      readonly page: number;
      /** The page of the tokens before, −1 if there are none. */
      readonly parent: number;
      readonly salt: number;
      /** [pageSize] */
      readonly tokens: Int32Array;
    }
  | { readonly type: 'removed'; readonly page: number }
  | { readonly type: 'moved'; readonly page: number; readonly target: number };

/**
 * Finds the page that contains given tokens after a given page.
 *
 * Published pages form trees: the parent of a page holds the tokens before. A search goes from parent to child by
 * hashes, each chained to that of the parent, and finds a page only if its parent and its tokens are those asked for.
 */
export class PrefixCache implements PageContents {
  readonly #pageSize: number;
  readonly #onEvent: ((event: PageEvent) => void) | undefined;
  readonly #index: PageIndex;
  readonly #tokens: Int32Array;
  readonly #parents: Int32Array;
  // Which life of the parent is meant; the salt where there is no parent.
  readonly #parentLives: Int32Array;
  // Odd while the page is published. Reused, it has another life, and is the parent of its former children no more.
  readonly #lives: Int32Array;
  #version = 0;

  constructor(nPages: number, pageSize: number, onEvent?: (event: PageEvent) => void) {
    this.#pageSize = pageSize;
    this.#onEvent = onEvent;
    this.#index = new PageIndex(nPages);
    this.#tokens = new Int32Array(nPages * pageSize);
    this.#parents = new Int32Array(nPages);
    this.#parentLives = new Int32Array(nPages);
    this.#lives = new Int32Array(nPages);
  }

  /** Another number whenever a search may have another result. */
  get version(): number {
    return this.#version;
  }

  has(page: number): boolean {
    return (this.#lives[page]! & 1) === 1;
  }

  /** The page of the tokens before a published page; `NULL_PAGE` if there are none or that page was reused. */
  parent(page: number): number {
    return this.isOrphan(page) ? NULL_PAGE : this.#parents[page]!;
  }

  /** Whether the page is published but no search gets to it, since its parent was reused. */
  isOrphan(page: number): boolean {
    if (!this.has(page)) return false;
    const parent = this.#parents[page]!;
    return parent !== NULL_PAGE && this.#lives[parent] !== this.#parentLives[page];
  }

  /** The salt of a page that is the first of its prompt. */
  salt(page: number): number {
    return this.#parentLives[page]!;
  }

  /** The published tokens of a page, [pageSize]. */
  tokens(page: number): Int32Array {
    return this.#tokens.slice(page * this.#pageSize, (page + 1) * this.#pageSize);
  }

  /** The page with the tokens of a column of the prompt whose parent is `parent`, or `NULL_PAGE`. */
  find(parent: number, prompt: Prompt, column: number): number {
    const { tokens } = prompt;
    const start = column * this.#pageSize;
    const life = this.#lifeOf(parent, prompt);
    const hash = this.#hash(parent, prompt, start);
    const index = this.#index;
    for (let place = index.start(hash); index.at(place) !== NULL_PAGE; place = index.next(place)) {
      const page = index.at(place);
      if (index.hash(page) !== hash) continue;
      if (this.#parents[page] !== parent || this.#parentLives[page] !== life) continue;
      if (this.#contains(page, tokens, start)) return page;
    }
    return NULL_PAGE;
  }

  /** Publish a page, which must be written. Returns the one that was published with the same content before, if any. */
  publish(page: number, parent: number, prompt: Prompt, column: number): number {
    const found = this.find(parent, prompt, column);
    if (found !== NULL_PAGE) return found;
    const start = column * this.#pageSize;
    for (let i = 0; i < this.#pageSize; i++)
      this.#tokens[page * this.#pageSize + i] = prompt.tokens[start + i]!;
    this.#parents[page] = parent;
    this.#parentLives[page] = this.#lifeOf(parent, prompt);
    this.#begin(page, this.#hash(parent, prompt, start));
    this.#onEvent?.({ type: 'stored', page, parent, salt: prompt.salt, tokens: this.tokens(page) });
    return page;
  }

  forget(page: number): void {
    if (!this.has(page)) return;
    this.#end(page);
    this.#onEvent?.({ type: 'removed', page });
  }

  clear(): void {
    for (let page = 0; page < this.#lives.length; page++) this.forget(page);
  }

  /** What the sources contain is in the targets now. */
  move(moves: readonly PageCopy[]): void {
    const targets = new Map(moves.filter(([source]) => this.has(source)));
    if (targets.size === 0) return;
    for (const [source, target] of targets) this.#move(source, target);
    for (let page = 0; page < this.#lives.length; page++) {
      const parent = this.#parents[page]!;
      const target = targets.get(parent);
      if (target === undefined || !this.has(page)) continue;
      // The life that the children know ended with the move.
      if (this.#lives[parent] !== this.#parentLives[page]! + 1) continue;
      this.#parents[page] = target;
      this.#parentLives[page] = this.#lives[target]!;
    }
  }

  #move(source: number, target: number): void {
    const size = this.#pageSize;
    this.#tokens.copyWithin(target * size, source * size, (source + 1) * size);
    this.#parents[target] = this.#parents[source]!;
    this.#parentLives[target] = this.#parentLives[source]!;
    this.#end(source);
    this.#begin(target, this.#index.hash(source));
    this.#onEvent?.({ type: 'moved', page: source, target });
  }

  #begin(page: number, hash: number): void {
    this.#index.add(page, hash);
    this.#lives[page]!++;
    this.#version++;
  }

  #end(page: number): void {
    this.#index.remove(page);
    this.#lives[page]!++;
    this.#version++;
  }

  #hash(parent: number, { tokens, salt }: Prompt, start: number): number {
    return hashTokens(parent === NULL_PAGE ? salt : this.#index.hash(parent), tokens, start, this.#pageSize);
  }

  #lifeOf(parent: number, { salt }: Prompt): number {
    return parent === NULL_PAGE ? salt : this.#lives[parent]!;
  }

  #contains(page: number, tokens: Int32Array, start: number): boolean {
    const own = page * this.#pageSize;
    for (let i = 0; i < this.#pageSize; i++) if (this.#tokens[own + i] !== tokens[start + i]) return false;
    return true;
  }
}
