import type { ManagedSequence } from './managedSequence.js';
import { adoptablePages, nMissing, nSeenAtOnce } from './pageDemand.js';
import { NULL_PAGE } from './pool/pageList.js';
import type { PageStore } from './pageStore.js';
import type { PageTable } from './pool/pageTable.js';

export interface VictimsArgs<Sequence> {
  /** What wants pages: one with pages for its next token, one without for all that it has. */
  readonly sequence: Sequence;
  /** Those that may give way, in the order in which they should. */
  readonly candidates: readonly Sequence[];
  /** Free pages that it may have besides. */
  readonly nPages: number;
}

/**
 * Which candidates must give back their pages so that a sequence has what it wants. None if all of them would not do, so
 * that nothing is given back in vain. O(pages of the candidates)
 */
export function chooseVictims(store: PageStore, args: VictimsArgs<ManagedSequence>): ManagedSequence[] {
  const { sequence, candidates, nPages } = args;
  const isRunning = sequence.nPages > 0;
  const nWanted = nMissing(store, sequence, isRunning ? 1 : Infinity);
  // Pages that it finds are no gain, unless they come back from it when they leave the window.
  const nWantedAlone = isRunning || store.window < 0 ? Infinity : nSeenAtOnce(store);
  const found = new Set(isRunning ? [] : adoptablePages(store, sequence));
  const nHeld = new Map<number, number>();
  const isFreed = freedBy(store, sequence, nHeld);
  let nGained = 0;
  let nFound = 0;
  for (let i = 0; i < candidates.length; i++) {
    for (const page of pagesOf(candidates[i]!.table)) {
      nHeld.set(page, (nHeld.get(page) ?? 0) + 1);
      if (!isFreed(page)) continue;
      if (found.has(page)) nFound++;
      else nGained++;
    }
    const isEnough = nWanted <= nPages + nGained;
    if (!isEnough && nWantedAlone > nPages + nGained + nFound) continue;
    const isGain = (page: number) => isFreed(page) && !(isEnough && found.has(page));
    return candidates.slice(0, i + 1).filter(({ table }) => pagesOf(table).some(isGain));
  }
  return [];
}

/** Whether a page is of use once it is held so often less. */
function freedBy({ pool, cache }: PageStore, sequence: ManagedSequence, nHeld: ReadonlyMap<number, number>) {
  // With its last page to itself, a sequence need not copy it, unless it can be found.
  const source = sequence.table.copySource(sequence.nComputed + 1);
  const shared = source !== NULL_PAGE && !cache.has(source) ? source : NULL_PAGE;
  return (page: number): boolean => pool.count(page) - (nHeld.get(page) ?? 0) === (page === shared ? 1 : 0);
}

function pagesOf(table: PageTable): number[] {
  return Array.from({ length: table.nPages - table.firstPage }, (_, i) => table.page(table.firstPage + i));
}
