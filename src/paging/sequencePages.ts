import type { ManagedSequence } from './managedSequence.js';
import type { PageStore } from './pageStore.js';
import { NULL_PAGE, type PageCopy } from './pool/pagePool.js';
import type { PageTable } from './pool/pageTable.js';
import { NO_PREFIX } from './prefix/prefixTree.js';
import type { SequenceId } from './sequenceRegistry.js';
import { dropHostPages, truncateSwapped } from './swapping.js';

// What the pages of a sequence go through from step to step. `swapping.ts` moves them to the host and back.

/** Puts the next tokens, `nTokens` at most, in flight. Returns what must be copied before they are written. */
export function reserve(store: PageStore, sequence: ManagedSequence, nTokens: number): readonly PageCopy[] {
  const { table } = sequence;
  if (sequence.isFresh) adoptPrefix(store, sequence);
  const end = Math.min(sequence.nComputed + nTokens, sequence.nTokens);
  sequence.nInFlight = end - sequence.nComputed;
  const source = table.copySource(end);
  if (source !== NULL_PAGE && (store.pool.count(source) === 1 || store.pins.has(source))) {
    // Hold the page until it is copied, so that nothing else takes it, also when it is unpinned before that.
    store.pool.hold(source);
    sequence.copySource = source;
  }
  return table.grow(end);
}

/** Starts with the published pages that `store.nFound` has counted. */
export function adoptFound(store: PageStore, sequence: ManagedSequence, nFound: number): void {
  store.adoptFound(sequence.table, nFound);
  sequence.setComputed(nFound * store.pageSize);
  store.setPublished(sequence, nFound, nFound === 0 ? NO_PREFIX : store.search.prefix(nFound - 1));
}

/** Starts with the published pages that are found. */
function adoptPrefix(store: PageStore, sequence: ManagedSequence): void {
  adoptFound(store, sequence, store.nFound(sequence));
  // A sequence counts once: what it finds later may be its own.
  if (sequence.isCounted) return;
  sequence.isCounted = true;
  store.nSearched += sequence.nTokens;
  store.nHit += sequence.nComputed;
}

/** The tokens in flight are computed, but for the last `nRejected`, which are dropped. */
export function commit(store: PageStore, sequence: ManagedSequence, nRejected: number): void {
  sequence.setComputed(sequence.nComputed + sequence.nInFlight - nRejected);
  sequence.nInFlight = 0;
  dropCopySource(store, sequence);
  unpinRestored(store, sequence);
  if (nRejected > 0) {
    sequence.truncate(sequence.nComputed);
    sequence.table.shrink(sequence.nComputed);
  }
  publish(store, sequence);
  dropUnseen(store, sequence);
}

/** Keeps the first `nTokens`. If they need pages that have left the window, all is computed again. */
export function truncate(store: PageStore, sequence: ManagedSequence, nTokens: number): void {
  sequence.truncate(nTokens);
  if (nTokens >= sequence.nComputed) return;
  const { gap } = sequence;
  const isCut = Math.ceil(nTokens / store.pageSize) > gap.start && gap.end > store.gapAfter(nTokens).end;
  if (nTokens === 0 || isCut) {
    giveBack(store, sequence);
    return;
  }
  if (sequence.swapped) truncateSwapped(store, sequence, nTokens);
  else store.shrink(sequence.table, nTokens);
  store.unpublish(sequence, Math.floor(nTokens / store.pageSize));
  sequence.nComputed = nTokens;
}

/** A second sequence with the first `nTokens`, in the same pages, here or on the host. */
export function fork(
  store: PageStore,
  sequence: ManagedSequence,
  id: SequenceId,
  nTokens: number,
): ManagedSequence {
  const copy = sequence.fork(id);
  store.cache.tree.hold(copy.prefix);
  for (const hostPage of copy.swapped?.hostPages ?? []) store.hostPool.hold(hostPage);
  truncate(store, copy, nTokens);
  return copy;
}

/** Gives back all pages, here and on the host. */
export function giveBack(store: PageStore, sequence: ManagedSequence): void {
  dropCopySource(store, sequence);
  unpinRestored(store, sequence);
  dropHostPages(store, sequence);
  store.shrink(sequence.table, 0);
  store.unpublish(sequence, 0);
  sequence.nComputed = 0;
  sequence.nInFlight = 0;
}

/** The copies of the step are made. */
function dropCopySource(store: PageStore, sequence: ManagedSequence): void {
  const { copySource } = sequence;
  if (copySource !== NULL_PAGE) store.pool.drop(copySource, store.freeAncestor(copySource));
  sequence.copySource = NULL_PAGE;
}

/** The pages that a restore writes are written, or given up. */
function unpinRestored(store: PageStore, sequence: ManagedSequence): void {
  if (sequence.restoring !== undefined) store.unpin(sequence.restoring);
  sequence.restoring = undefined;
}

/** Publishes the pages that are full and written. Tokens whose page has left the window lead to later pages. */
function publish(store: PageStore, sequence: ManagedSequence): void {
  if (sequence.isPrivate) return;
  const { cache } = store;
  const { table } = sequence;
  const nFull = Math.floor(sequence.nComputed / store.pageSize);
  for (let column = sequence.nPublished; column < nFull; column++) {
    const page = table.page(column);
    const known = cache.tree.find(sequence.prefix, sequence, column);
    let prefix = known;
    if (known !== NO_PREFIX) {
      if (page !== NULL_PAGE) shareColumn(store, table, column, known);
    } else if (page === NULL_PAGE) prefix = cache.addLead(sequence.prefix, sequence, column);
    else prefix = cache.add(page, sequence.prefix, sequence, column);
    store.setPublished(sequence, column + 1, prefix);
  }
}

/** A full page has a prefix that is known already: go on with the page of that, or let it be found in this page. */
function shareColumn(store: PageStore, table: PageTable, column: number, prefix: number): void {
  const page = store.cache.page(prefix);
  if (page === NULL_PAGE) {
    store.cache.fill(prefix, table.page(column));
    // The page joins those before and after it.
    store.touchAncestors(table.page(column));
  } else if (page !== table.page(column)) {
    store.pool.hold(page);
    table.replace(column, page);
  }
}

/** Gives back the pages that no later query sees, but for the last published one, where another prompt may go on. */
function dropUnseen(store: PageStore, { table, nComputed, nPublished, isPrivate }: ManagedSequence): void {
  const { end } = store.gapAfter(isPrivate ? nComputed : nPublished * store.pageSize);
  if (end > table.gap.end) table.dropBefore(end, store.freeAncestorOf(table));
}
