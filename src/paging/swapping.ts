import type { ManagedSequence } from './managedSequence.js';
import type { PageStore } from './pageStore.js';
import { NULL_PAGE, type PageCopy } from './pool/pagePool.js';
import { heldBefore, heldColumn, NO_GAP } from './pool/pageTable.js';

/** Moves pages to the host, which must have room. Returns [page, host page] copies. */
export function swapOut(store: PageStore, sequence: ManagedSequence): readonly PageCopy[] {
  const { table } = sequence;
  const { gap } = table;
  const hostPages = Int32Array.from({ length: sequence.nPages }, () => store.hostPool.take());
  const copies = Array.from(hostPages, (hostPage, i): PageCopy => [table.heldPage(i), hostPage]);
  store.shrink(table, 0);
  sequence.swapped = { gap, hostPages };
  return copies;
}

/** Brings pages back; there must be enough free ones. Returns [host page, page] copies for those that are not found. */
export function swapIn(store: PageStore, sequence: ManagedSequence): readonly PageCopy[] {
  const { gap, hostPages } = sequence.swapped!;
  const { table, nComputed } = sequence;
  const found = foundOfSwapped(store, sequence);
  // Hold all of them first, so that none is reused for another one.
  for (const page of found) if (page !== NULL_PAGE) store.pool.hold(page);
  const copies: PageCopy[] = [];
  hostPages.forEach((hostPage, i) => {
    if (i === gap.start) table.adoptGap(gap);
    let page = found[i]!;
    if (page === NULL_PAGE) copies.push([hostPage, (page = store.pool.take())]);
    table.adopt(page);
  });
  table.shrink(nComputed);
  // The pages from the first copied one on are published, or found, once they are written.
  const firstCopied = found.indexOf(NULL_PAGE);
  if (firstCopied >= 0) store.unpublish(sequence, heldColumn(gap, firstCopied));
  dropHostPages(store, sequence);
  return copies;
}

/** The pages of a swapped sequence that are still published, column by column; `NULL_PAGE` for the others. */
export function foundOfSwapped({ cache }: PageStore, sequence: ManagedSequence): Int32Array {
  const { gap, hostPages } = sequence.swapped!;
  const pages = new Int32Array(hostPages.length).fill(NULL_PAGE);
  const first = gap.start > 0 ? 0 : gap.end;
  let { prefix } = sequence;
  for (let column = sequence.nPublished - 1; column >= first; column--) {
    if (column < gap.start || column >= gap.end) pages[heldBefore(gap, column)] = cache.page(prefix);
    prefix = cache.tree.parent(prefix);
  }
  return pages;
}

/** Keeps the host pages of the first `nTokens`, at least one. */
export function truncateSwapped(store: PageStore, sequence: ManagedSequence, nTokens: number): void {
  const { gap, hostPages } = sequence.swapped!;
  const nColumns = Math.ceil(nTokens / store.pageSize);
  const nKept = heldBefore(gap, nColumns);
  for (const hostPage of hostPages.subarray(nKept)) store.hostPool.drop(hostPage);
  sequence.swapped = { gap: nColumns <= gap.start ? NO_GAP : gap, hostPages: hostPages.subarray(0, nKept) };
}

export function dropHostPages(store: PageStore, sequence: ManagedSequence): void {
  for (const page of sequence.swapped?.hostPages ?? []) store.hostPool.drop(page);
  sequence.swapped = undefined;
}
