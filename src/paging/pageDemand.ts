import type { ManagedSequence } from './managedSequence.js';
import { NULL_PAGE } from './pool/pageList.js';
import type { PageStore } from './pageStore.js';
import { presentPages } from './swapping.js';

// What it takes to go on with a sequence that is not in flight: so many pages at first, to find or fetch what it has, or
// to copy its last page; then so many tokens into its last page; then pageSize tokens into each further page.

/** Tokens that are neither computed nor found. */
export function nToCompute(store: PageStore, sequence: ManagedSequence): number {
  return sequence.nTokens - sequence.nComputed - store.nFound(sequence) * store.pageSize;
}

/** Free pages that `nTokens` more tokens take, or all that there are if these are fewer. */
export function nMissing(store: PageStore, sequence: ManagedSequence, nTokens: number): number {
  const nNew = Math.min(nTokens, nToCompute(store, sequence));
  const nBeyond = Math.max(0, nNew - nTokensOfLastPage(store, sequence));
  return nPagesFirst(store, sequence, nNew) + Math.ceil(nBeyond / store.pageSize);
}

/** Tokens, more than there may be, that can be computed with `nPages` free pages. */
export function nFitting(store: PageStore, sequence: ManagedSequence, nPages: number): number {
  const nLeft = nPages - nPagesFirst(store, sequence, 1);
  return nLeft < 0 ? 0 : nTokensOfLastPage(store, sequence) + nLeft * store.pageSize;
}

/** Free pages that all its tokens take, computed one at a time if there is a window, so that pages come back. */
export function nMissingInAll(store: PageStore, sequence: ManagedSequence): number {
  const nAll = nMissing(store, sequence, Infinity);
  if (store.window < 0) return nAll;
  return Math.min(nAll, Math.max(nSeenAtOnce(store) - sequence.nPages, nPagesFirst(store, sequence, 1)));
}

/** Whether all its tokens fit at once, or one at a time if there is a window, where nothing else has pages but pins. */
export function canFit(store: PageStore, sequence: ManagedSequence): boolean {
  const nPages = store.pool.nPages - store.pins.nPages;
  const nAll = Math.ceil(sequence.nTokens / store.pageSize);
  if (nAll <= nPages || (store.window >= 0 && nSeenAtOnce(store) <= nPages)) return true;
  // Where its last page is to be copied it takes one more, or begins again without those that have left the window.
  const nCopied = needsCopyAlone(store, sequence) ? 1 : 0;
  const nColumns = Math.min(nAll - firstColumn(store, sequence) + nCopied, nAll);
  return nColumns <= nPages || nColumns - nPinned(store, sequence) <= nPages;
}

/** Whether the last page of a sequence must be copied, and is held by nothing else. */
function needsCopyAlone({ cache, pins }: PageStore, { table, nComputed }: ManagedSequence): boolean {
  const source = table.copySource(nComputed + 1);
  return source !== NULL_PAGE && cache.has(source) && !pins.has(source);
}

/** Pages that a sequence without pages will hold again as they are, found or not yet reused. */
export function adoptablePages(store: PageStore, sequence: ManagedSequence): Int32Array {
  if (sequence.swapped) return presentPages(store, sequence).filter((page) => page !== NULL_PAGE);
  return store.foundPages(sequence);
}

/** Pages that a query sees, at most: besides its own those of its window, at least the page before. */
export function nSeenAtOnce({ window, pageSize }: PageStore): number {
  return 1 + Math.max(1, Math.ceil(window / pageSize));
}

/** The first column of which a sequence has a page, or will have one. */
function firstColumn(store: PageStore, sequence: ManagedSequence): number {
  if (sequence.isFresh) return store.firstSeen(store.nFound(sequence) * store.pageSize);
  return sequence.swapped?.firstPage ?? sequence.table.firstPage;
}

/** Pages of a sequence, or pages that it will have, that are pinned and will not be changed. */
function nPinned(store: PageStore, sequence: ManagedSequence): number {
  const isPinned = (page: number) => store.pins.has(page);
  const { table, nComputed, isFresh, isSwapped } = sequence;
  if (isFresh || isSwapped) return adoptablePages(store, sequence).filter(isPinned).length;
  const nFull = Math.floor(nComputed / store.pageSize);
  let n = 0;
  for (let column = table.firstPage; column < nFull; column++) if (isPinned(table.page(column))) n++;
  return n;
}

function nPagesFirst(store: PageStore, sequence: ManagedSequence, nTokens: number): number {
  const { table, nComputed, isFresh, swapped } = sequence;
  if (!isFresh && !swapped) return table.copySource(nComputed + nTokens) === NULL_PAGE ? 0 : 1;
  const pages = adoptablePages(store, sequence);
  let nFree = 0;
  for (const page of pages) if (store.pool.count(page) === 0) nFree++;
  return swapped ? swapped.hostPages.length - pages.length + nFree : nFree;
}

function nTokensOfLastPage({ pageSize }: PageStore, { nComputed }: ManagedSequence): number {
  return Math.ceil(nComputed / pageSize) * pageSize - nComputed;
}
