import type { ManagedSequence } from './managedSequence.js';
import type { PageStore } from './pageStore.js';
import { NULL_PAGE, type PageCopy } from './pool/pagePool.js';

/** Moves pages to the host, which must have room. Returns [page, host page] copies. */
export function swapOut(store: PageStore, sequence: ManagedSequence): readonly PageCopy[] {
  const { table } = sequence;
  const { firstPage } = table;
  const hostPages = Int32Array.from({ length: sequence.nPages }, () => store.hostPool.take());
  const copies = Array.from(hostPages, (hostPage, i): PageCopy => [table.page(firstPage + i), hostPage]);
  store.shrink(table, 0);
  sequence.swapped = { firstPage, hostPages };
  return copies;
}

/** Brings pages back; there must be enough free ones. Returns [host page, page] copies for those that are not found. */
export function swapIn(store: PageStore, sequence: ManagedSequence): readonly PageCopy[] {
  const { firstPage, hostPages } = sequence.swapped!;
  const { table, nComputed } = sequence;
  const found = foundOfSwapped(store, sequence);
  // Hold all of them first, so that none is reused for another one.
  for (const page of found) if (page !== NULL_PAGE) store.pool.hold(page);
  for (let column = 0; column < firstPage; column++) table.adopt(NULL_PAGE);
  const copies: PageCopy[] = [];
  hostPages.forEach((hostPage, i) => {
    let page = found[i]!;
    if (page === NULL_PAGE) copies.push([hostPage, (page = store.pool.take())]);
    table.adopt(page);
  });
  table.shrink(nComputed);
  // The pages from the first copied one on are published, or found, once they are written.
  const firstCopied = found.indexOf(NULL_PAGE);
  if (firstCopied >= 0) store.unpublish(sequence, firstPage + firstCopied);
  dropHostPages(store, sequence);
  return copies;
}

/** The pages of a swapped sequence that are still published, column by column; `NULL_PAGE` for the others. */
export function foundOfSwapped({ cache }: PageStore, sequence: ManagedSequence): Int32Array {
  const { firstPage, hostPages } = sequence.swapped!;
  const pages = new Int32Array(hostPages.length).fill(NULL_PAGE);
  let { prefix } = sequence;
  for (let column = sequence.nPublished - 1; column >= firstPage; column--) {
    pages[column - firstPage] = cache.page(prefix);
    prefix = cache.tree.parent(prefix);
  }
  return pages;
}

/** Keeps the host pages of the first `nTokens`, at least one. */
export function truncateSwapped(store: PageStore, sequence: ManagedSequence, nTokens: number): void {
  const { firstPage, hostPages } = sequence.swapped!;
  const nKept = Math.ceil(nTokens / store.pageSize) - firstPage;
  for (const hostPage of hostPages.subarray(nKept)) store.hostPool.drop(hostPage);
  sequence.swapped = { firstPage, hostPages: hostPages.subarray(0, nKept) };
}

export function dropHostPages(store: PageStore, sequence: ManagedSequence): void {
  for (const page of sequence.swapped?.hostPages ?? []) store.hostPool.drop(page);
  sequence.swapped = undefined;
}
