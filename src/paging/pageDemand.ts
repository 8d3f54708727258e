import type { ManagedSequence } from './managedSequence.js';
import { NULL_PAGE } from './pageList.js';
import type { PageStore } from './pageStore.js';

// What it takes to go on with a sequence at rest: so many pages at first, to find or fetch what it has, or to copy its
// last page; then so many tokens into its last page; then pageSize tokens into each further page.

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
  // Besides the token's own page: those of its window, at least the page before.
  const nSeen = 1 + Math.max(1, Math.ceil(store.window / store.pageSize));
  return Math.min(nAll, Math.max(nSeen - sequence.nPages, nPagesFirst(store, sequence, 1)));
}

function nPagesFirst(store: PageStore, sequence: ManagedSequence, nTokens: number): number {
  if (sequence.swapped) return sequence.swapped.hostPages.length;
  if (sequence.isFresh) return store.nFoundFree(sequence);
  return sequence.table.copySource(sequence.nComputed + nTokens) === NULL_PAGE ? 0 : 1;
}

function nTokensOfLastPage({ pageSize }: PageStore, { nComputed }: ManagedSequence): number {
  return Math.ceil(nComputed / pageSize) * pageSize - nComputed;
}
