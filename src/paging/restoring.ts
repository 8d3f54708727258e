import { checkNames, namesOf } from '../core/checkArguments.js';
import { describe, fail } from '../core/errors.js';
import { checkStart, type ManagedSequence } from './managedSequence.js';
import type { PageStore } from './pageStore.js';
import type { PageCopy } from './pool/pagePool.js';
import { heldBefore, heldColumn } from './pool/pageTable.js';
import { checkCount } from './pool/pagingChecks.js';
import { gapOf, type SequenceState } from './saving.js';
import { adoptFound } from './sequencePages.js';
import type { SequenceId } from './sequenceRegistry.js';

/** A sequence that is being restored. It is in flight. */
export interface RestoredPages {
  readonly sequence: SequenceId;
  /**
   * `[saved page, page]`: what to write before `commit`. Saved pages count from 0, column by column. Those that are in the
   * prefix cache already are not among them.
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
  nKeptColumns: true,
});

/** Checks that a sequence can have been in this state, in a manager with this window. */
export function checkState(caller: string, state: SequenceState, store: PageStore): void {
  // A `SavedPages` or what has been read of one may have other properties besides.
  const prototype: unknown = state && Object.getPrototypeOf(state);
  const isPlain = !prototype || Object.getPrototypeOf(prototype) === null;
  checkNames(caller, isPlain || Array.isArray(state) ? state : {}, NAMES);
  const { tokens, nComputed, nOnceComputed, firstColumn, nKeptColumns = 0 } = state;
  checkStart(caller, tokens, state);
  checkCount(caller, 'nOnceComputed', nOnceComputed, 0, tokens.length);
  checkCount(caller, 'nComputed', nComputed, 0, nOnceComputed);
  checkCount(caller, 'firstColumn', firstColumn);
  checkCount(caller, 'nKeptColumns', nKeptColumns, 0, firstColumn);
  const gap = store.gapAfter(nComputed);
  if (firstColumn > gap.end)
    fail(
      'argument',
      caller,
      `the first page is that of column ${describe(firstColumn)}, but what follows ${nComputed} tokens sees column ${gap.end}. Save with the window of this manager.`,
    );
  if (firstColumn > 0 && nKeptColumns !== store.nKept)
    fail(
      'argument',
      caller,
      `the first ${nKeptColumns} columns have pages of first keys, but here those of ${store.nKept} are kept. Save with the firstKeys of this manager.`,
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
  const gap = gapOf(state);
  const nFound = store.nFound(sequence);
  // What is found must reach up to the saved pages.
  const isFound = nFound > 0 && nFound >= firstColumn;
  const start = isFound ? heldBefore(gap, nFound) : 0;
  const end = Math.max(start, heldBefore(gap, Math.ceil(nComputed / pageSize)));
  const found = isFound ? store.foundPages(sequence) : new Int32Array();
  const nRevived = found.filter((page) => pool.count(page) === 0).length;
  const spared = [...avoided].filter((page) => pool.isFree(page) && !found.includes(page));
  if (nRevived + end - start + spared.length > pool.nFree) return 'full';

  const { table } = sequence;
  for (const page of spared) pool.hold(page);
  if (isFound) adoptFound(store, sequence, nFound);
  else {
    table.grow(gap.start * pageSize);
    table.adoptGap(gap);
  }
  // What is restored is no prompt, and has no part in the hit rate.
  sequence.isCounted = true;
  const nTokens = Math.max(sequence.nComputed, nComputed);
  table.grow(nTokens);
  for (const page of spared.toReversed()) pool.drop(page, store.freeAncestor(page));
  sequence.nInFlight = nTokens - sequence.nComputed;
  sequence.nOnceComputed = Math.max(nOnceComputed, nTokens);
  if (sequence.nInFlight > 0) sequence.restoring = store.pins.add(table.clone());
  return Array.from({ length: end - start }, (_, i) => [start + i, table.page(heldColumn(gap, start + i))]);
}
