import { checkNames, namesOf } from '../core/checkArguments.js';
import type { ManagedSequence } from './managedSequence.js';
import { NULL_PAGE, PagePool, type PageCopy } from './pool/pagePool.js';
import { heldBefore, heldColumn, NO_GAP, PageTable, type PageGap } from './pool/pageTable.js';
import { checkBoolean, checkCount, checkPool, refuseValue } from './pool/pagingChecks.js';
import type { PageEvent } from './prefix/pageEvents.js';
import { PrefixCache, PrefixSearch } from './prefix/prefixCache.js';
import type { PinId } from './sequenceRegistry.js';

export interface PageManagerOptions {
  /** Pages in the pool. */
  readonly nPages: number;
  /** Tokens in a page. */
  readonly pageSize: number;
  /** Pages in host memory, for `swapOut`. Default 0 */
  readonly nHostPages?: number;
  /** Keys that a query sees to its left in every layer, as `windowSize[0]` of the attention. Default −1: all */
  readonly window?: number;
  /** Keys at the start of a sequence that every query sees besides, as `firstKeys` of the attention. Default 0 */
  readonly firstKeys?: number;
  /** Whether prompts find pages that others have computed. Default true */
  readonly isCaching?: boolean;
  /** Called for each page whose content can be found from now on, or no more. It must not call the manager, nor throw. */
  readonly onEvent?: (event: PageEvent) => void;
}

export interface ResetOptions {
  /** Whether pages in host memory still hold what they held, as when only the device was lost. Default false */
  readonly keepSwapped?: boolean;
}

const NAMES = namesOf<PageManagerOptions>({
  nPages: true,
  pageSize: true,
  nHostPages: true,
  window: true,
  firstKeys: true,
  isCaching: true,
  onEvent: true,
});

const RESET_NAMES = namesOf<ResetOptions>({ keepSwapped: true });

/** Checks the options of a reset, of a manager or a planner. */
export function checkReset(caller: string, options: ResetOptions): void {
  checkNames(caller, options, RESET_NAMES);
  const { keepSwapped = false } = options;
  checkBoolean(caller, 'keepSwapped', keepSwapped);
}

/**
 * The pages of a manager, on the device and on the host, the prefix cache and the pins, and what sequences do with them. The
 * callers make sure that there are enough pages, and that the sequence is in a state for it.
 *
 * Column c of a sequence is its page with the tokens c · pageSize to (c + 1) · pageSize − 1.
 */
export class PageStore {
  readonly pageSize: number;
  readonly window: number;
  readonly firstKeys: number;
  /** Columns at the start that never leave the window. */
  readonly nKept: number;
  readonly isCaching: boolean;
  readonly pool: PagePool;
  /** The pages in host memory; `pool` has those on the device. */
  readonly hostPool: PagePool;
  readonly cache: PrefixCache;
  readonly search: PrefixSearch;
  readonly pins = new Pins();
  /** Tokens of all sequences that have searched, and how many of them were found: the hit rate. */
  nSearched = 0;
  nHit = 0;

  /** Checks the options in the name of the page manager. */
  constructor(options: PageManagerOptions) {
    const caller = 'PageManager';
    checkPool(caller, options, NAMES);
    const { nPages, pageSize, nHostPages = 0, window = -1, firstKeys = 0 } = options;
    const { isCaching = true, onEvent } = options;
    checkCount(caller, 'nHostPages', nHostPages);
    checkCount(caller, 'window', window, -1);
    checkCount(caller, 'firstKeys', firstKeys);
    checkBoolean(caller, 'isCaching', isCaching);
    if (onEvent !== undefined && typeof onEvent !== 'function')
      refuseValue(caller, 'onEvent', 'a function', onEvent);
    this.pageSize = pageSize;
    this.window = window;
    this.firstKeys = firstKeys;
    this.nKept = window < 0 ? 0 : Math.ceil(firstKeys / pageSize);
    this.isCaching = isCaching;
    this.cache = new PrefixCache(isCaching ? nPages : 0, pageSize, onEvent);
    this.pool = new PagePool(nPages, pageSize, this.cache);
    this.hostPool = new PagePool(nHostPages, pageSize);
    this.search = new PrefixSearch(this.cache, (nColumns) => this.gapAfter(nColumns * pageSize));
  }

  /** Gives back what a pin holds. Returns whether there is such a pin. */
  unpin(pin: PinId): boolean {
    const table = this.pins.remove(pin);
    if (table) this.shrink(table, 0);
    return table !== undefined;
  }

  newTable(): PageTable {
    return new PageTable(this.pool, this.nKept);
  }

  /** Returns the columns that a query after `nTokens` does not need; it needs the page before at least. */
  gapAfter(nTokens: number): PageGap {
    if (this.window < 0) return NO_GAP;
    const firstSeen = Math.floor(Math.max(0, nTokens - Math.max(1, this.window)) / this.pageSize);
    return firstSeen > this.nKept ? { start: this.nKept, end: firstSeen } : NO_GAP;
  }

  /**
   * Returns how many published pages a sequence without pages starts with. At least one token is left to compute, as only
   * that gives logits.
   */
  nFound(sequence: ManagedSequence): number {
    if (sequence.isPrivate || !sequence.isFresh) return 0;
    return this.search.find(sequence, Math.floor((sequence.nTokens - 1) / this.pageSize));
  }

  /** Returns, of the pages that `nFound` counts, those that the sequence will hold: none that has left its window. */
  foundPages(sequence: ManagedSequence): Int32Array {
    const nFound = this.nFound(sequence);
    const gap = this.gapAfter(nFound * this.pageSize);
    const pages = new Int32Array(heldBefore(gap, nFound));
    for (let i = 0; i < pages.length; i++) pages[i] = this.search.page(heldColumn(gap, i));
    return pages;
  }

  /**
   * Takes the pages of the last search into a table, as far as a query after them sees them. Call `nFound` or
   * `search.find` first.
   */
  adoptFound(table: PageTable, nFound: number): void {
    const { start, end } = this.gapAfter(nFound * this.pageSize);
    for (let column = 0; column < nFound; column++) {
      const page = column >= start && column < end ? NULL_PAGE : this.search.page(column);
      if (page !== NULL_PAGE) this.pool.hold(page);
      table.adopt(page);
    }
  }

  /** Returns a table that holds the published pages of a sequence. */
  pinnedTable(sequence: ManagedSequence): PageTable {
    const table = this.newTable();
    const nFull = Math.floor(sequence.nTokens / this.pageSize);
    if (!sequence.isPrivate) this.adoptFound(table, this.search.find(sequence, nFull));
    return table;
  }

  /** Notes that the first `nPublished` pages of a sequence are published, and have that prefix. */
  setPublished(sequence: ManagedSequence, nPublished: number, prefix: number): void {
    this.cache.tree.hold(prefix);
    this.cache.tree.drop(sequence.prefix);
    sequence.nPublished = nPublished;
    sequence.prefix = prefix;
  }

  /** Takes a sequence back to at most `max` published pages. */
  unpublish(sequence: ManagedSequence, max: number): void {
    let { nPublished, prefix } = sequence;
    for (; nPublished > max; nPublished--) prefix = this.cache.tree.parent(prefix);
    this.setPublished(sequence, nPublished, prefix);
  }

  /** Gives back the pages after the first `nTokens`. */
  shrink(table: PageTable, nTokens: number): void {
    if (table.nPages > 0) this.touchAncestors(table.page(table.gap.end));
    table.shrink(nTokens, this.freeAncestorOf(table));
  }

  // The end of a prompt is asked for less often than its beginning, so of pages that follow each other the later ones are
  // evicted first. For a sequence that gives back its pages from the end, the free list does that. With a window, however,
  // it still holds pages when those before them are free.

  /**
   * Returns the nearest free page before this one in its prompt, or `NULL_PAGE`. A page that is given back is evicted before
   * it.
   */
  freeAncestor(page: number): number {
    if (this.window < 0 || !this.cache.has(page)) return NULL_PAGE;
    let ancestor = this.cache.pageBefore(page);
    while (ancestor !== NULL_PAGE && this.pool.count(ancestor) > 0)
      ancestor = this.cache.pageBefore(ancestor);
    return ancestor;
  }

  freeAncestorOf(table: PageTable): number {
    return table.nPages === 0 ? NULL_PAGE : this.freeAncestor(table.page(table.gap.end));
  }

  /** Makes the free pages before this one the most recently used ones. */
  touchAncestors(page: number): void {
    for (let next = this.freeAncestor(page); next !== NULL_PAGE; next = this.freeAncestor(next))
      this.pool.touch(next);
  }

  /** Uses only the pages below `nPages`. Returns the copies that this takes, or `'full'`. */
  resize(nPages: number, sequences: Iterable<ManagedSequence>): readonly PageCopy[] | 'full' {
    const moves = this.pool.resize(nPages);
    if (moves === 'full' || moves.length === 0) return moves;
    this.cache.move(moves);
    const targets = new Map(moves);
    for (const { table } of sequences) table.rename(targets);
    for (const table of this.pins.tables()) table.rename(targets);
    this.pins.recount();
    return moves.filter(([, target]) => this.pool.count(target) > 0 || this.cache.has(target));
  }

  /** Forgets what pages contain, and empties the pins. Call it after every sequence gave its pages back. */
  clearCache(): void {
    for (const table of this.pins.tables()) this.shrink(table, 0);
    this.pins.recount();
    this.pool.forgetAll();
  }
}

/** Tables of pages that are held until they are unpinned. */
class Pins {
  readonly #tables = new Map<PinId, PageTable>();
  readonly #pages = new Set<number>();
  #nextId = 0;

  /** Pages that are pinned, each counted once. */
  get nPages(): number {
    return this.#pages.size;
  }

  has(page: number): boolean {
    return this.#pages.has(page);
  }

  tables(): Iterable<PageTable> {
    return this.#tables.values();
  }

  add(table: PageTable): PinId {
    this.#tables.set(this.#nextId, table);
    this.#addPages(table);
    return this.#nextId++;
  }

  /** Removes a pin. Returns its table, if there is such a pin. */
  remove(pin: PinId): PageTable | undefined {
    const table = this.#tables.get(pin);
    this.#tables.delete(pin);
    if (table) this.recount();
    return table;
  }

  /** Counts the pages again after the tables have changed. */
  recount(): void {
    this.#pages.clear();
    for (const table of this.#tables.values()) this.#addPages(table);
  }

  #addPages(table: PageTable): void {
    for (const page of table.heldPages()) this.#pages.add(page);
  }
}
