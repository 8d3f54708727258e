import type { ManagedSequence } from './managedSequence.js';
import { NULL_PAGE } from './pool/pageList.js';
import type { PageStore } from './pageStore.js';
import type { PageCopy } from './pool/pageTable.js';

/** What of a sequence is in host memory: the columns from `firstPage` on. Forks have the same pages. */
export interface SwappedPages {
  readonly firstPage: number;
  readonly hostPages: Int32Array;
}

/** Move pages to the host, which must have room. Returns [page, host page] copies. */
export function swapOut(store: PageStore, sequence: ManagedSequence): readonly PageCopy[] {
  const { table } = sequence;
  const { firstPage } = table;
  const hostPages = Int32Array.from({ length: sequence.nPages }, () => store.host.take());
  const copies = Array.from(hostPages, (hostPage, i): PageCopy => [table.page(firstPage + i), hostPage]);
  store.shrink(table, 0);
  sequence.swapped = { firstPage, hostPages };
  return copies;
}

/** Take pages again. Returns [host page, page] copies for those that cannot be found any more. */
export function swapIn(store: PageStore, sequence: ManagedSequence): readonly PageCopy[] {
  const { firstPage, hostPages } = sequence.swapped!;
  const { table, nComputed } = sequence;
  const present = presentPages(store, sequence);
  // All of them first, so that none is reused by one that is taken.
  for (const page of present) if (page !== NULL_PAGE) store.pool.hold(page);
  for (let column = 0; column < firstPage; column++) table.adopt(NULL_PAGE);
  const copies: PageCopy[] = [];
  hostPages.forEach((hostPage, i) => {
    const isPresent = present[i] !== NULL_PAGE;
    const page = isPresent ? present[i]! : store.pool.take();
    if (!isPresent) copies.push([hostPage, page]);
    table.adopt(page);
  });
  table.shrink(nComputed);
  // The others are published, or found, once they are written.
  const firstAbsent = present.indexOf(NULL_PAGE);
  if (firstAbsent >= 0) store.unpublish(sequence, firstPage + firstAbsent);
  dropHostPages(store, sequence);
  return copies;
}

/** The pages of a swapped sequence that can still be found, column by column, `NULL_PAGE` for the others. */
export function presentPages({ cache }: PageStore, sequence: ManagedSequence): Int32Array {
  const { firstPage, hostPages } = sequence.swapped!;
  const pages = new Int32Array(hostPages.length).fill(NULL_PAGE);
  let { prefix } = sequence;
  for (let column = sequence.nPublished - 1; column >= firstPage; column--) {
    pages[column - firstPage] = cache.page(prefix);
    prefix = cache.parent(prefix);
  }
  return pages;
}

/** Keep the first `nTokens`, at least one, of what a sequence has on the host. */
export function goBackSwapped(store: PageStore, sequence: ManagedSequence, nTokens: number): void {
  const { firstPage, hostPages } = sequence.swapped!;
  const nKept = Math.ceil(nTokens / store.pageSize) - firstPage;
  for (const hostPage of hostPages.subarray(nKept)) store.host.drop(hostPage);
  sequence.swapped = { firstPage, hostPages: hostPages.subarray(0, nKept) };
}

export function dropHostPages(store: PageStore, sequence: ManagedSequence): void {
  for (const page of sequence.swapped?.hostPages ?? []) store.host.drop(page);
  sequence.swapped = undefined;
}
