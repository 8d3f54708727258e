import { checkNames, namesOf } from '../core/checkArguments.js';
import { describe, fail } from '../core/errors.js';
import { checkStart, type ManagedSequence } from './managedSequence.js';
import type { PageStore } from './pageStore.js';
import { NULL_PAGE, type PageCopy } from './pool/pagePool.js';
import { checkCount } from './pool/pagingChecks.js';
import { NO_PREFIX } from './prefix/prefixTree.js';
import type { SequenceState } from './saving.js';
import { adoptFound } from './sequencePages.js';
import type { SequenceId } from './sequenceRegistry.js';

/** A sequence that is being restored. It is in flight. */
export interface RestoredPages {
  readonly sequence: SequenceId;
  /**
   * `[saved page, page]`: what to write before `commit`. Saved pages count from 0, which is that of `firstColumn`. Those
   * that are in the prefix cache already are not among them.
   */
  readonly writes: readonly PageCopy[];
}

const NAMES = namesOf<SequenceState>({
  tokens: true,
  salt: true,
  isPrivate: true,
  nComputed: true,
  nOnceComputed: true,
  firstColumn: true,
});

/** Checks that a sequence can have been in this state, in a manager with this window. */
export function checkState(caller: string, state: SequenceState, store: PageStore): void {
  // A `SavedPages` or what has been read of one may have other properties besides.
  const prototype: unknown = state && Object.getPrototypeOf(state);
  const isPlain = !prototype || Object.getPrototypeOf(prototype) === null;
  checkNames(caller, isPlain || Array.isArray(state) ? state : {}, NAMES);
  const { tokens, nComputed, nOnceComputed, firstColumn } = state;
  checkStart(caller, tokens, state);
  checkCount(caller, 'nOnceComputed', nOnceComputed, 0, tokens.length);
  checkCount(caller, 'nComputed', nComputed, 0, nOnceComputed);
  checkCount(caller, 'firstColumn', firstColumn);
  const firstSeen = store.firstSeen(nComputed);
  if (firstColumn > firstSeen)
    fail(
      'argument',
      caller,
      `the first page is that of column ${describe(firstColumn)}, but what follows ${nComputed} tokens sees column ${firstSeen}. Save with the window of this manager.`,
    );
}

/**
 * Puts the tokens that were computed in flight, but for those whose pages are found, which it takes over. Pages of
 * `avoided` are not taken. Returns [saved page, page] to write, or `'full'`.
 */
export function restore(
  store: PageStore,
  sequence: ManagedSequence,
  state: SequenceState,
  avoided: ReadonlySet<number>,
): readonly PageCopy[] | 'full' {
  const { pool, pageSize } = store;
  const { nComputed, nOnceComputed, firstColumn } = state;
  const nFound = store.nFound(sequence);
  // What is found must reach up to the saved pages.
  const isFound = nFound > 0 && nFound >= firstColumn;
  const start = isFound ? nFound : firstColumn;
  const end = Math.max(start, Math.ceil(nComputed / pageSize));
  const found = isFound ? store.foundPages(sequence) : new Int32Array();
  const nRevived = found.filter((page) => pool.count(page) === 0).length;
  const spared = [...avoided].filter((page) => pool.isFree(page) && !found.includes(page));
  if (nRevived + end - start + spared.length > pool.nFree) return 'full';

  if (isFound) adoptFound(store, sequence, nFound);
  else leaveOut(store, sequence, firstColumn);
  // What is restored is no prompt, and has no part in the hit rate.
  sequence.isCounted = true;
  for (const page of spared) pool.hold(page);
  const { table } = sequence;
  const nTokens = Math.max(sequence.nComputed, nComputed);
  table.grow(nTokens);
  for (const page of spared.toReversed()) pool.drop(page, store.freeAncestor(page));
  sequence.nInFlight = nTokens - sequence.nComputed;
  sequence.nOnceComputed = Math.max(nOnceComputed, nTokens);
  if (sequence.nInFlight > 0) sequence.restoring = store.pins.add(table.clone());
  return Array.from({ length: end - start }, (_, i) => [start + i - firstColumn, table.page(start + i)]);
}

/** The first columns have no pages, as they are behind the window. Their tokens lead to later pages all the same. */
function leaveOut(store: PageStore, sequence: ManagedSequence, nColumns: number): void {
  const { cache } = store;
  for (let column = 0; column < nColumns; column++) {
    sequence.table.adopt(NULL_PAGE);
    if (sequence.isPrivate) continue;
    const known = cache.tree.find(sequence.prefix, sequence, column);
    const prefix = known === NO_PREFIX ? cache.addLead(sequence.prefix, sequence, column) : known;
    store.setPublished(sequence, column + 1, prefix);
  }
  sequence.nComputed = nColumns * store.pageSize;
}
