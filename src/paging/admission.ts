import type { ManagedSequence } from './managedSequence.js';
import type { PageStore } from './pageStore.js';
import { NULL_PAGE } from './pool/pagePool.js';
import { heldBefore, type PageGap } from './pool/pageTable.js';
import { foundOfSwapped } from './swapping.js';

// How many pages a sequence takes to go on, whether it can ever have them, and which others must give back theirs.
//
// A sequence that is not in flight takes some pages at first, to hold or fetch what it has, or to copy its last page. Then
// some tokens go into its last page, and pageSize tokens into each further page.

/** Tokens that are neither computed nor found. */
export function nToCompute(store: PageStore, sequence: ManagedSequence): number {
  return sequence.nTokens - sequence.nComputed - store.nFound(sequence) * store.pageSize;
}

/** Free pages that `nTokens` more tokens take; all that there are, if these are fewer. */
export function nMissing(store: PageStore, sequence: ManagedSequence, nTokens: number): number {
  const nNew = Math.min(nTokens, nToCompute(store, sequence));
  const nBeyond = Math.max(0, nNew - nSlotsLeft(store, sequence));
  return nPagesFirst(store, sequence, nNew) + Math.ceil(nBeyond / store.pageSize);
}

/** How many tokens can be computed with `nPages` free pages. May be more than there are. */
export function nFitting(store: PageStore, sequence: ManagedSequence, nPages: number): number {
  const nLeft = nPages - nPagesFirst(store, sequence, 1);
  return nLeft < 0 ? 0 : nSlotsLeft(store, sequence) + nLeft * store.pageSize;
}

/** Free pages that all its tokens take; with a window computed one at a time, so that pages come back. */
export function nMissingInAll(store: PageStore, sequence: ManagedSequence): number {
  const nAll = nMissing(store, sequence, Infinity);
  if (store.window < 0) return nAll;
  return Math.min(nAll, Math.max(nSeenAtOnce(store) - sequence.nPages, nPagesFirst(store, sequence, 1)));
}

/** Whether all its tokens fit if nothing else holds pages but pins; with a window, computed one at a time. */
export function canFit(store: PageStore, sequence: ManagedSequence): boolean {
  const nPages = store.pool.nPages - store.pins.nPages;
  const nAll = Math.ceil(sequence.nTokens / store.pageSize);
  if (nAll <= nPages || (store.window >= 0 && nSeenAtOnce(store) <= nPages)) return true;
  // If its last page must be copied it takes one more, or starts again without the pages that have left the window.
  const nCopied = mustCopyUnshared(store, sequence) ? 1 : 0;
  const nColumns = Math.min(heldBefore(expectedGap(store, sequence), nAll) + nCopied, nAll);
  return nColumns <= nPages || nColumns - nPinned(store, sequence) <= nPages;
}

/** Whether the last page of a sequence must be copied although nothing else holds it. */
function mustCopyUnshared({ cache, pins }: PageStore, { table, nComputed }: ManagedSequence): boolean {
  const source = table.copySource(nComputed + 1);
  return source !== NULL_PAGE && cache.has(source) && !pins.has(source);
}

/** The pages that a sequence without pages takes over as they are: published ones. */
function reusedPages(store: PageStore, sequence: ManagedSequence): Int32Array {
  if (sequence.swapped) return foundOfSwapped(store, sequence).filter((page) => page !== NULL_PAGE);
  return store.foundPages(sequence);
}

/** The most pages that a query sees: its own, those of its window, at least the page before, and those of first keys. */
function nSeenAtOnce({ window, pageSize, nKept }: PageStore): number {
  return 1 + Math.max(1, Math.ceil(window / pageSize)) + nKept;
}

/** The columns of which a sequence has no page, or will have none. */
function expectedGap(store: PageStore, sequence: ManagedSequence): PageGap {
  return sequence.isFresh ? store.gapAfter(store.nFound(sequence) * store.pageSize) : sequence.gap;
}

/** Pages of a sequence, or pages that it will have, that are pinned and full. */
function nPinned(store: PageStore, sequence: ManagedSequence): number {
  const { table, nComputed, isFresh, isSwapped } = sequence;
  const pages =
    isFresh || isSwapped
      ? [...reusedPages(store, sequence)]
      : table.heldPages().slice(0, heldBefore(table.gap, Math.floor(nComputed / store.pageSize)));
  return pages.filter((page) => store.pins.has(page)).length;
}

/** Free pages that come before any for new tokens: those it takes over or fetches from the host, or a copy of its last. */
function nPagesFirst(store: PageStore, sequence: ManagedSequence, nTokens: number): number {
  const { table, nComputed, isFresh, swapped } = sequence;
  if (!isFresh && !swapped) return table.copySource(nComputed + nTokens) === NULL_PAGE ? 0 : 1;
  const pages = reusedPages(store, sequence);
  let nFree = 0;
  for (const page of pages) if (store.pool.count(page) === 0) nFree++;
  return swapped ? swapped.hostPages.length - pages.length + nFree : nFree;
}

/** Slots of the last page that have no token yet. */
function nSlotsLeft({ pageSize }: PageStore, { nComputed }: ManagedSequence): number {
  return Math.ceil(nComputed / pageSize) * pageSize - nComputed;
}

export interface VictimsArgs<Sequence> {
  /** What needs pages: for its next token if it has pages, else for all its tokens. */
  readonly sequence: Sequence;
  /** Sequences that may be preempted, in the order in which they should be. */
  readonly candidates: readonly Sequence[];
  /** Free pages that it may have besides. */
  readonly nPages: number;
}

/**
 * Which candidates must give back their pages so that a sequence has what it needs. None if all of them would not suffice,
 * so that nothing is given back in vain. O(pages of the candidates)
 */
export function chooseVictims(store: PageStore, args: VictimsArgs<ManagedSequence>): ManagedSequence[] {
  const { sequence, candidates, nPages } = args;
  const isRunning = sequence.nPages > 0;
  const nNeeded = nMissing(store, sequence, isRunning ? 1 : Infinity);
  // Pages that it takes over are no gain, unless they come back from it when they leave the window.
  const nNeededAlone = isRunning || store.window < 0 ? Infinity : nSeenAtOnce(store);
  const reused = new Set(isRunning ? [] : reusedPages(store, sequence));
  const nDropped = new Map<number, number>();
  const isFreed = freedTest(store, sequence, nDropped);
  let nGained = 0;
  let nReused = 0;
  for (let i = 0; i < candidates.length; i++) {
    for (const page of candidates[i]!.table.heldPages()) {
      nDropped.set(page, (nDropped.get(page) ?? 0) + 1);
      if (!isFreed(page)) continue;
      if (reused.has(page)) nReused++;
      else nGained++;
    }
    const isEnough = nNeeded <= nPages + nGained;
    if (!isEnough && nNeededAlone > nPages + nGained + nReused) continue;
    const isGain = (page: number) => isFreed(page) && !(isEnough && reused.has(page));
    return candidates.slice(0, i + 1).filter(({ table }) => table.heldPages().some(isGain));
  }
  return [];
}

/** A test of whether a page is a gain once its refcount is lower by `nDropped`. */
function freedTest(
  { pool, cache }: PageStore,
  sequence: ManagedSequence,
  nDropped: ReadonlyMap<number, number>,
) {
  // A sequence that alone holds its last page need not copy it, unless it is published.
  const source = sequence.table.copySource(sequence.nComputed + 1);
  const shared = source !== NULL_PAGE && !cache.has(source) ? source : NULL_PAGE;
  return (page: number): boolean =>
    pool.count(page) - (nDropped.get(page) ?? 0) === (page === shared ? 1 : 0);
}
