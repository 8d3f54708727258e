import { freeAncestor, isReachable, touchAncestors } from './lineage.js';
import type { ManagedSequence } from './managedSequence.js';
import { NULL_PAGE } from './pageList.js';
import { PagePool } from './pagePool.js';
import { PageTable, type PageCopy } from './pageTable.js';
import { PrefixCache, type PageEvent } from './prefixCache.js';
import { PrefixSearch } from './prefixSearch.js';

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
 * that there are enough, and that the sequence is in a state for it.
 */
export class PageStore {
  readonly pageSize: number;
  readonly window: number;
  readonly cache: PrefixCache;
  readonly pool: PagePool;
  readonly host: PagePool;
  readonly #search: PrefixSearch;

  constructor({ nPages, pageSize, nHostPages, window, isCaching, onEvent }: PageStoreOptions) {
    this.pageSize = pageSize;
    this.window = window;
    this.cache = new PrefixCache(isCaching ? nPages : 0, pageSize, onEvent);
    this.pool = new PagePool(nPages, pageSize, this.cache);
    this.host = new PagePool(nHostPages, pageSize);
    this.#search = new PrefixSearch(this.cache);
  }

  newTable(): PageTable {
    return new PageTable(this.pool);
  }

  /** Pages for its start that a sequence finds published. A token is left to compute, as the next one comes out of it. */
  nFound(sequence: ManagedSequence): number {
    if (sequence.isPrivate || !sequence.isFresh) return 0;
    return this.#search.find(sequence, Math.floor((sequence.nTokens - 1) / this.pageSize));
  }

  /** Those of the pages found that are free and will be held. */
  nFoundFree(sequence: ManagedSequence): number {
    const nFound = this.nFound(sequence);
    let nFree = 0;
    for (let column = this.#firstNeeded(nFound * this.pageSize, nFound); column < nFound; column++)
      if (this.pool.count(this.#search.page(column)) === 0) nFree++;
    return nFree;
  }

  /** Start with the pages found. */
  revive(sequence: ManagedSequence): void {
    const nFound = this.nFound(sequence);
    this.#adoptFound(sequence.table, nFound, this.#firstNeeded(nFound * this.pageSize, nFound));
    sequence.nComputed = nFound * this.pageSize;
    sequence.nPublished = nFound;
    sequence.isPublishing = !sequence.isPrivate;
  }

  /** Take pages for the tokens up to `nTokens`. */
  grow(sequence: ManagedSequence, nTokens: number): readonly PageCopy[] {
    const source = sequence.table.copySource(nTokens);
    if (source !== NULL_PAGE && this.pool.count(source) === 1) {
      // Nobody else may take the page before it was copied.
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
    const { table } = sequence;
    for (; sequence.isPublishing; sequence.nPublished++) {
      const column = sequence.nPublished;
      if ((column + 1) * this.pageSize > sequence.nComputed) return;
      const parent = column === 0 ? NULL_PAGE : table.page(column - 1);
      // What came back from the host may have left the pages before it behind.
      if (column < table.firstPage || (column > 0 && !this.cache.has(parent))) {
        sequence.isPublishing = false;
        return;
      }
      const page = this.cache.publish(table.page(column), parent, sequence, column);
      if (page === table.page(column)) continue;
      this.pool.hold(page);
      table.replace(column, page);
    }
  }

  /** Give back the pages that no later query sees. */
  reclaim(sequence: ManagedSequence): void {
    const { table } = sequence;
    const nPublished = sequence.isPublishing ? sequence.nPublished : Infinity;
    const column = this.#firstNeeded(sequence.nComputed, nPublished);
    if (column <= table.firstPage) return;
    if (this.cache.isOrphan(table.page(table.firstPage))) this.#forget(table);
    table.dropBefore(column, this.#anchor(table));
  }

  /** Whether a sequence has the pages that a query after its first `nTokens` sees. */
  canGoBack(sequence: ManagedSequence, nTokens: number): boolean {
    return sequence.table.firstPage <= this.#firstNeeded(nTokens, Infinity);
  }

  /** Keep the pages of the first `nTokens`. */
  shrink(table: PageTable, nTokens: number): void {
    if (table.firstPage > 0 && table.firstPage < table.nPages) {
      const first = table.page(table.firstPage);
      if (isReachable(first, this.cache)) touchAncestors(first, this.cache, this.pool);
      else this.#forget(table);
    }
    table.shrink(nTokens, this.#anchor(table));
  }

  /** Move pages to the host, which must have room. Returns [page, host page] copies. */
  swapOut(sequence: ManagedSequence): readonly PageCopy[] {
    const { table } = sequence;
    const { firstPage } = table;
    const hostPages = Int32Array.from({ length: sequence.nPages }, () => this.host.take());
    const copies = Array.from(hostPages, (hostPage, i): PageCopy => [table.page(firstPage + i), hostPage]);
    this.shrink(table, 0);
    sequence.swapped = { firstPage, hostPages };
    return copies;
  }

  /** Take pages again. Returns [host page, page] copies for those that cannot be found any more. */
  swapIn(sequence: ManagedSequence): readonly PageCopy[] {
    const { firstPage, hostPages } = sequence.swapped!;
    const { table, nComputed } = sequence;
    const nFull = Math.floor(nComputed / this.pageSize);
    const nFound = sequence.isPrivate ? 0 : this.#search.find(sequence, nFull);
    this.#adoptFound(table, nFound, firstPage);
    const copies: PageCopy[] = [];
    for (let column = nFound; column < firstPage + hostPages.length; column++) {
      const page = column < firstPage ? NULL_PAGE : this.pool.take();
      if (page !== NULL_PAGE) copies.push([hostPages[column - firstPage]!, page]);
      table.adopt(page);
    }
    table.shrink(nComputed);
    sequence.nPublished = nFound;
    this.dropHostPages(sequence);
    return copies;
  }

  dropHostPages(sequence: ManagedSequence): void {
    if (!sequence.swapped) return;
    for (const page of sequence.swapped.hostPages) this.host.drop(page);
    sequence.swapped = undefined;
  }

  /** Use the pages below `nPages` only. Returns the copies that this takes, or `'full'`. */
  resize(nPages: number, tables: Iterable<PageTable>): readonly PageCopy[] | 'full' {
    const moves = this.pool.resize(nPages);
    if (moves === 'full' || moves.length === 0) return moves;
    this.cache.move(moves);
    const targets = new Map(moves);
    for (const table of tables) table.rename(targets);
    return moves.filter(([, target]) => this.pool.count(target) > 0 || this.cache.has(target));
  }

  /** Forget what pages contain. Nobody may hold any. */
  clearCache(): void {
    this.cache.clear();
    this.pool.contentsCleared();
  }

  /** Hold what was found last, from column `first` on. */
  #adoptFound(table: PageTable, nFound: number, first: number): void {
    for (let column = 0; column < nFound; column++) {
      const page = column < first ? NULL_PAGE : this.#search.page(column);
      if (page !== NULL_PAGE) this.pool.hold(page);
      table.adopt(page);
    }
  }

  /** The first column that a query after `nTokens` sees, or that what is published next has for its parent. */
  #firstNeeded(nTokens: number, nPublished: number): number {
    if (this.window < 0) return 0;
    const firstSeen = Math.floor(Math.max(0, nTokens - this.window) / this.pageSize);
    return Math.min(firstSeen, Math.max(0, nPublished - 1));
  }

  /** What cannot be found need not be kept. */
  #forget(table: PageTable): void {
    for (let column = table.firstPage; column < table.nPages; column++) this.cache.forget(table.page(column));
  }

  /** Where in the order of eviction the pages of a table belong. */
  #anchor(table: PageTable): number {
    return table.firstPage === table.nPages ? NULL_PAGE : this.#freeAncestor(table.page(table.firstPage));
  }

  #freeAncestor(page: number): number {
    // Without a window, who holds a page holds those before it.
    return this.window < 0 ? NULL_PAGE : freeAncestor(page, this.cache, this.pool);
  }
}
