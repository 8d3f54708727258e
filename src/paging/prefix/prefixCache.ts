import { grown } from '../pool/intBuffer.js';
import { PageEvents, publishedPage, type PageEvent, type PublishedPage } from '../pageEvents.js';
import { NULL_PAGE } from '../pool/pageList.js';
import type { PageContents } from '../pool/pagePool.js';
import type { PageCopy } from '../pool/pageTable.js';
import { NO_PREFIX, PrefixTree, type Prompt } from './prefixTree.js';

/**
 * Which page has the keys and values of which prefix: of the last page of its tokens.
 *
 * A prefix may be in no page: then its page was reused, but a longer prefix is in one or held. With a window such a
 * longer one is worth finding, as a query sees only the last pages; so a page is known by all the tokens before it, not
 * by the page before it.
 */
export class PrefixCache implements PageContents {
  readonly #tree: PrefixTree;
  readonly #events: PageEvents | undefined;
  /** The prefix of each page, or `NO_PREFIX`. */
  readonly #prefixes: Int32Array;
  /** The page of each prefix, or `NULL_PAGE`. */
  #pages: Int32Array;
  #version = 0;

  constructor(nPages: number, pageSize: number, onEvent?: (event: PageEvent) => void) {
    this.#tree = new PrefixTree(nPages, pageSize, (prefix) => this.#remove(prefix));
    this.#prefixes = new Int32Array(nPages).fill(NO_PREFIX);
    this.#pages = new Int32Array(nPages).fill(NULL_PAGE);
    if (onEvent) this.#events = new PageEvents({ tree: this.#tree, nameOf: this.#nameOf, onEvent });
  }

  /** Another number whenever a search may have another result. */
  get version(): number {
    return this.#version;
  }

  /** Whether the content of a page is published. */
  has(page: number): boolean {
    return this.#prefixes[page]! >= 0;
  }

  /** The page of the tokens before a published page, or `NULL_PAGE`. */
  pageBefore(page: number): number {
    const parent = this.#tree.parent(this.#prefixes[page]!);
    return parent === NO_PREFIX ? NULL_PAGE : this.page(parent);
  }

  /** The page that has a prefix, or `NULL_PAGE`. */
  page(prefix: number): number {
    return this.#pages[prefix]!;
  }

  /** The prefix that is a page shorter, or `NO_PREFIX`. */
  parent(prefix: number): number {
    return this.#tree.parent(prefix);
  }

  /** All prefixes by their pages. */
  published(): PublishedPage[] {
    return Array.from(this.#tree.all(), (prefix) => publishedPage(this.#tree, this.#nameOf, prefix));
  }

  /** The prefix with the tokens of a column of the prompt after `parent`, or `NO_PREFIX`. */
  find(parent: number, prompt: Prompt, column: number): number {
    return this.#tree.find(parent, prompt, column);
  }

  /** Publish a page, which must be written, with a prefix that `find` does not find. Returns the prefix. */
  add(page: number, parent: number, prompt: Prompt, column: number): number {
    const prefix = this.#tree.add(parent, prompt, column);
    this.#put(prefix, page);
    this.#events?.added(prefix);
    return prefix;
  }

  /** Publish a page, which must be written, with a prefix that is in no page. */
  fill(prefix: number, page: number): void {
    const before = this.#nameOf(prefix);
    this.#put(prefix, page);
    this.#events?.renamed(prefix, before);
  }

  /** Keep a prefix known, whether or not its page is reused. */
  hold(prefix: number): void {
    this.#tree.hold(prefix);
  }

  /** Hold a prefix once less. */
  drop(prefix: number): void {
    this.#tree.drop(prefix);
  }

  forget(page: number): void {
    const prefix = this.#prefixes[page]!;
    if (!this.has(page)) return;
    this.#prefixes[page] = NO_PREFIX;
    this.#version++;
    if (this.#tree.count(prefix) > 1) {
      this.#pages[prefix] = NULL_PAGE;
      this.#events?.renamed(prefix, page);
    }
    this.#tree.drop(prefix);
  }

  clear(): void {
    for (let page = 0; page < this.#prefixes.length; page++) this.forget(page);
  }

  /** What the sources contain is in the targets now. */
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
    if (prefix >= this.#pages.length) this.#pages = grown(this.#pages, prefix + 1);
    this.#tree.hold(prefix);
    this.#pages[prefix] = page;
    this.#prefixes[page] = prefix;
    this.#version++;
  }

  #remove(prefix: number): void {
    this.#events?.removed(prefix, this.#nameOf(prefix));
    this.#pages[prefix] = NULL_PAGE;
  }

  readonly #nameOf = (prefix: number): number => {
    if (prefix === NO_PREFIX) return NULL_PAGE;
    const page = this.page(prefix);
    return page === NULL_PAGE ? FIRST_NUMBER - prefix : page;
  };
}

/** The number of prefix 0 while no page has it. */
const FIRST_NUMBER = -2;
