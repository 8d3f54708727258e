import { freeAncestor, touchAncestors } from './prefix/pageAncestors.js';
import type { ManagedSequence } from './managedSequence.js';
import type { PageEvent } from './pageEvents.js';
import { NULL_PAGE } from './pool/pageList.js';
import { PagePool } from './pool/pagePool.js';
import { PageTable, type PageCopy } from './pool/pageTable.js';
import { Pins } from './pins.js';
import { PrefixCache } from './prefix/prefixCache.js';
import { PrefixSearch } from './prefix/prefixSearch.js';
import { NO_PREFIX } from './prefix/prefixTree.js';

export interface PageStoreOptions {
  readonly nPages: number;
  readonly pageSize: number;
  readonly nHostPages: number;
  readonly window: number;
  readonly isCaching: boolean;
  readonly onEvent: ((event: PageEvent) => void) | undefined;
}

/**
 * Pages, here and in host memory, in the life of a sequence: found, taken, published, given back. Its callers see to it
 * that there are enough, and that the sequence is in a state for it. `swapping.ts` moves them to the host and back.
 */
export class PageStore {
  readonly pageSize: number;
  readonly window: number;
  readonly cache: PrefixCache;
  readonly pool: PagePool;
  readonly host: PagePool;
  readonly pins = new Pins();
  readonly #search: PrefixSearch;

  constructor({ nPages, pageSize, nHostPages, window, isCaching, onEvent }: PageStoreOptions) {
    this.pageSize = pageSize;
    this.window = window;
    this.cache = new PrefixCache(isCaching ? nPages : 0, pageSize, onEvent);
    this.pool = new PagePool(nPages, pageSize, this.cache);
    this.host = new PagePool(nHostPages, pageSize);
    this.#search = new PrefixSearch(this.cache, (nColumns) => this.firstSeen(nColumns * pageSize));
  }

  newTable(): PageTable {
    return new PageTable(this.pool);
  }

  /** The first column that a query after `nTokens` sees, the page before it at the latest. */
  firstSeen(nTokens: number): number {
    if (this.window < 0) return 0;
    return Math.floor(Math.max(0, nTokens - Math.max(1, this.window)) / this.pageSize);
  }

  /** Pages for its start that a sequence finds published. A token is left to compute, as the next one comes out of it. */
  nFound(sequence: ManagedSequence): number {
    if (sequence.isPrivate || !sequence.isFresh) return 0;
    return this.#search.find(sequence, Math.floor((sequence.nTokens - 1) / this.pageSize));
  }

  /** Those of the pages found that a sequence will hold. */
  foundPages(sequence: ManagedSequence): Int32Array {
    const nFound = this.nFound(sequence);
    const first = this.firstSeen(nFound * this.pageSize);
    const pages = new Int32Array(nFound - first);
    for (let i = 0; i < pages.length; i++) pages[i] = this.#search.page(first + i);
    return pages;
  }

  /** Start with the pages found. */
  revive(sequence: ManagedSequence): void {
    const nFound = this.nFound(sequence);
    this.#adoptFound(sequence.table, nFound);
    sequence.reach(nFound * this.pageSize);
    this.setPublished(sequence, nFound, nFound === 0 ? NO_PREFIX : this.#search.prefix(nFound - 1));
  }

  /** Take pages for the tokens up to `nTokens`. */
  grow(sequence: ManagedSequence, nTokens: number): readonly PageCopy[] {
    const source = sequence.table.copySource(nTokens);
    if (source !== NULL_PAGE && this.pool.count(source) === 1) {
      // Nothing else may take the page before it was copied.
      this.pool.hold(source);
      sequence.copySource = source;
    }
    return sequence.table.grow(nTokens) as readonly PageCopy[];
  }

  /** The copies for a sequence are made. */
  dropCopySource(sequence: ManagedSequence): void {
    if (sequence.copySource === NULL_PAGE) return;
    this.pool.drop(sequence.copySource, this.#freeAncestor(sequence.copySource));
    sequence.copySource = NULL_PAGE;
  }

  /** Let the pages be found that are full and written. Where an equal one was published before, go on with that. */
  publish(sequence: ManagedSequence): void {
    if (sequence.isPrivate) return;
    const { table } = sequence;
    const nFull = Math.floor(sequence.nComputed / this.pageSize);
    for (let column = sequence.nPublished; column < nFull; column++) {
      let prefix = this.cache.find(sequence.prefix, sequence, column);
      if (prefix === NO_PREFIX)
        prefix = this.cache.add(table.page(column), sequence.prefix, sequence, column);
      else this.#goOnWith(prefix, table, column);
      this.setPublished(sequence, column + 1, prefix);
    }
  }

  /** Another one has computed, at some time, what a column of the table contains. */
  #goOnWith(prefix: number, table: PageTable, column: number): void {
    const page = this.cache.page(prefix);
    if (page === NULL_PAGE) {
      this.cache.fill(prefix, table.page(column));
      // The page joins those before and after it.
      if (this.window >= 0) touchAncestors(table.page(column), this.cache, this.pool);
    } else if (page !== table.page(column)) {
      this.pool.hold(page);
      table.replace(column, page);
    }
  }

  /** The first `nPublished` pages of a sequence are published, and have that prefix. */
  setPublished(sequence: ManagedSequence, nPublished: number, prefix: number): void {
    this.cache.hold(prefix);
    this.cache.drop(sequence.prefix);
    sequence.nPublished = nPublished;
    sequence.prefix = prefix;
  }

  /** Give back the pages that no later query sees, nor one right after what is published, where a prompt may go on. */
  reclaim(sequence: ManagedSequence): void {
    const { table, nComputed, nPublished, isPrivate } = sequence;
    const column = this.firstSeen(isPrivate ? nComputed : nPublished * this.pageSize);
    if (column > table.firstPage) table.dropBefore(column, this.#anchor(table));
  }

  /** No more than the first `most` pages of a sequence are published. */
  unpublish(sequence: ManagedSequence, most: number): void {
    const nPublished = Math.min(sequence.nPublished, most);
    let prefix = nPublished === 0 ? NO_PREFIX : sequence.prefix;
    if (nPublished > 0)
      for (let n = sequence.nPublished; n > nPublished; n--) prefix = this.cache.parent(prefix);
    this.setPublished(sequence, nPublished, prefix);
  }

  /** Keep the pages of the first `nTokens`. */
  shrink(table: PageTable, nTokens: number): void {
    if (table.firstPage > 0 && table.firstPage < table.nPages)
      touchAncestors(table.page(table.firstPage), this.cache, this.pool);
    table.shrink(nTokens, this.#anchor(table));
  }

  /** Hold, for a fork, what it has besides its pages here. */
  share({ prefix, swapped }: ManagedSequence): void {
    this.cache.hold(prefix);
    for (const hostPage of swapped?.hostPages ?? []) this.host.hold(hostPage);
  }

  /** A table that holds what there is to be found of the tokens of a sequence. */
  pinnedTable(sequence: ManagedSequence): PageTable {
    const table = this.newTable();
    const nFull = Math.floor(sequence.nTokens / this.pageSize);
    if (!sequence.isPrivate) this.#adoptFound(table, this.#search.find(sequence, nFull));
    return table;
  }

  /** Use the pages below `nPages` only. Returns the copies that this takes, or `'full'`. */
  resize(nPages: number, tables: Iterable<PageTable>): readonly PageCopy[] | 'full' {
    const moves = this.pool.resize(nPages);
    if (moves === 'full' || moves.length === 0) return moves;
    this.cache.move(moves);
    const targets = new Map(moves);
    for (const table of tables) table.rename(targets);
    this.pins.recount();
    return moves.filter(([, target]) => this.pool.count(target) > 0 || this.cache.has(target));
  }

  /** Forget what pages contain. Nothing but pins may hold any. */
  clearCache(): void {
    for (const table of this.pins.tables()) this.shrink(table, 0);
    this.pins.recount();
    this.cache.clear();
    this.pool.contentsCleared();
  }

  /** Hold what was found last, as far as a query after it sees it. */
  #adoptFound(table: PageTable, nFound: number): void {
    const first = this.firstSeen(nFound * this.pageSize);
    for (let column = 0; column < nFound; column++) {
      const page = column < first ? NULL_PAGE : this.#search.page(column);
      if (page !== NULL_PAGE) this.pool.hold(page);
      table.adopt(page);
    }
  }

  /** Where in the order of eviction the pages of a table belong. */
  #anchor(table: PageTable): number {
    return table.firstPage === table.nPages ? NULL_PAGE : this.#freeAncestor(table.page(table.firstPage));
  }

  #freeAncestor(page: number): number {
    // Without a window, what holds a page holds those before it.
    return this.window < 0 ? NULL_PAGE : freeAncestor(page, this.cache, this.pool);
  }
}
