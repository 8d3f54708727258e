import { grown } from '../pool/intArrays.js';
import { NULL_PAGE, type PageContents, type PageCopy } from '../pool/pagePool.js';
import type { PageGap } from '../pool/pageTable.js';
import { PageEvents, type PageEvent, type PublishedPage } from './pageEvents.js';
import { NO_PREFIX, PrefixTree, type Prompt } from './prefixTree.js';

/**
 * Which page has the keys and values of which prefix: of the last page of its tokens.
 *
 * A prefix may be in no page: its page was reused, but a longer prefix is in a page, or it is held. With a window such
 * a longer prefix is worth finding, as a query sees only the last pages. So a page is known by all the tokens before
 * it, not by the page before it.
 */
export class PrefixCache implements PageContents {
  readonly tree: PrefixTree;
  readonly #events: PageEvents | undefined;
  /** The prefix of each page, or `NO_PREFIX`. */
  readonly #prefixes: Int32Array;
  /** The page of each prefix, or `NULL_PAGE`. */
  #pages: Int32Array;
  #version = 0;

  constructor(nPages: number, pageSize: number, onEvent?: (event: PageEvent) => void) {
    this.tree = new PrefixTree(nPages, pageSize, (prefix) => this.#removed(prefix));
    this.#prefixes = new Int32Array(nPages).fill(NO_PREFIX);
    this.#pages = new Int32Array(nPages).fill(NULL_PAGE);
    if (onEvent)
      this.#events = new PageEvents({ tree: this.tree, publishedPage: this.#publishedPage, onEvent });
  }

  /** A number that changes whenever a search may have another result. */
  get version(): number {
    return this.#version;
  }

  /** Whether the content of a page is published. */
  has(page: number): boolean {
    return this.#prefixes[page]! >= 0;
  }

  /** The page that has a prefix, or `NULL_PAGE`. */
  page(prefix: number): number {
    return this.#pages[prefix]!;
  }

  /** The page of the tokens before a published page, or `NULL_PAGE`. */
  pageBefore(page: number): number {
    const parent = this.tree.parent(this.#prefixes[page]!);
    return parent === NO_PREFIX ? NULL_PAGE : this.page(parent);
  }

  /** All prefixes with their pages. */
  published(): PublishedPage[] {
    return Array.from(this.tree.all(), this.#publishedPage);
  }

  /** Publishes a page, which must be written, with a prefix that is not in the tree yet. Returns the prefix. */
  add(page: number, parent: number, prompt: Prompt, column: number): number {
    const prefix = this.tree.add(parent, prompt, column);
    this.#put(prefix, page);
    this.#events?.added(prefix);
    return prefix;
  }

  /** Adds a prefix that is in no page, and not in the tree yet. The caller must hold it at once. Returns it. */
  addLead(parent: number, prompt: Prompt, column: number): number {
    const prefix = this.tree.add(parent, prompt, column);
    this.#fit(prefix);
    this.#pages[prefix] = NULL_PAGE;
    this.#events?.added(prefix);
    return prefix;
  }

  /** Publishes a page, which must be written, with a prefix that is in no page. */
  fill(prefix: number, page: number): void {
    const before = this.#pageOrNumber(prefix);
    this.#put(prefix, page);
    this.#events?.renamed(prefix, before);
  }

  forget(page: number): void {
    if (!this.has(page)) return;
    const prefix = this.#prefixes[page]!;
    this.#prefixes[page] = NO_PREFIX;
    this.#version++;
    if (this.tree.count(prefix) > 1) {
      this.#pages[prefix] = NULL_PAGE;
      this.#events?.renamed(prefix, page);
    }
    this.tree.drop(prefix);
  }

  /** The content of the sources is in the targets now. */
  move(moves: readonly PageCopy[]): void {
    for (const [source, target] of moves) {
      if (!this.has(source)) continue;
      const prefix = this.#prefixes[source]!;
      this.#prefixes[source] = NO_PREFIX;
      this.#prefixes[target] = prefix;
      this.#pages[prefix] = target;
      this.#version++;
      this.#events?.moved(source, target);
    }
  }

  #put(prefix: number, page: number): void {
    this.#fit(prefix);
    this.tree.hold(prefix);
    this.#pages[prefix] = page;
    this.#prefixes[page] = prefix;
    this.#version++;
  }

  #fit(prefix: number): void {
    if (prefix >= this.#pages.length) this.#pages = grown(this.#pages, prefix + 1);
  }

  #removed(prefix: number): void {
    this.#events?.removed(prefix, this.#pageOrNumber(prefix));
    this.#pages[prefix] = NULL_PAGE;
  }

  readonly #publishedPage = (prefix: number): PublishedPage => ({
    page: this.#pageOrNumber(prefix),
    parent: this.#pageOrNumber(this.tree.parent(prefix)),
    salt: this.tree.salt(prefix),
    tokens: this.tree.tokens(prefix),
  });

  #pageOrNumber(prefix: number): number {
    if (prefix === NO_PREFIX) return NULL_PAGE;
    const page = this.page(prefix);
    return page === NULL_PAGE ? FIRST_NUMBER - prefix : page;
  }
}

/** The number of prefix 0 while it is in no page. */
const FIRST_NUMBER = -2;

/** A prompt that a search remembers. */
export interface ChangingPrompt extends Prompt {
  /** A number that changes whenever tokens may have been replaced. */
  readonly nTruncations: number;
}

/** Searches the published pages of a prompt. Asked again with nothing changed, it answers without a search. */
export class PrefixSearch {
  readonly #cache: PrefixCache;
  readonly #gapAfter: (nColumns: number) => PageGap;
  #prefixes = new Int32Array(16);
  #nFound = 0;
  #prompt: ChangingPrompt | undefined;
  #nTruncations = 0;
  #cacheVersion = 0;
  #maxColumns = 0;

  /** `gapAfter` returns the columns that a query after `nColumns` pages does not see. */
  constructor(cache: PrefixCache, gapAfter: (nColumns: number) => PageGap) {
    this.#cache = cache;
    this.#gapAfter = gapAfter;
  }

  /** How many of the first `maxColumns` pages need not be computed, as all that a query after them sees is in pages. */
  find(prompt: ChangingPrompt, maxColumns: number): number {
    const isKnown =
      this.#prompt === prompt &&
      this.#nTruncations === prompt.nTruncations &&
      this.#cacheVersion === this.#cache.version &&
      this.#maxColumns === maxColumns;
    if (!isKnown) this.#search(prompt, maxColumns);
    return this.#nFound;
  }

  /** The prefix that ends with a column of what was found last. */
  prefix(column: number): number {
    return this.#prefixes[column]!;
  }

  /** The page of a column of what was found last, one that a query after it sees. */
  page(column: number): number {
    return this.#cache.page(this.#prefixes[column]!);
  }

  #search(prompt: ChangingPrompt, maxColumns: number): void {
    this.#prompt = prompt;
    this.#nTruncations = prompt.nTruncations;
    this.#cacheVersion = this.#cache.version;
    this.#maxColumns = maxColumns;
    this.#nFound = 0;
    if (this.#prefixes.length < maxColumns) this.#prefixes = new Int32Array(2 * maxColumns);
    let prefix = NO_PREFIX;
    // The columns that are in no page lie between these two.
    let [firstMissing, firstPresent] = [Infinity, 0];
    for (let column = 0; column < maxColumns; column++) {
      prefix = this.#cache.tree.find(prefix, prompt, column);
      if (prefix === NO_PREFIX) return;
      this.#prefixes[column] = prefix;
      if (this.#cache.page(prefix) === NULL_PAGE) {
        firstMissing = Math.min(firstMissing, column);
        firstPresent = column + 1;
        continue;
      }
      if (firstPresent > 0) {
        const { start, end } = this.#gapAfter(column + 1);
        if (firstMissing < start || end < firstPresent) continue;
      }
      this.#nFound = column + 1;
    }
  }
}
