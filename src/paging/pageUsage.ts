import type { ManagedSequence } from './managedSequence.js';
import type { PagePool } from './pool/pagePool.js';

/** How full a pool is. */
export interface PageUsage {
  readonly nPages: number;
  /** Pages that sequences and pins hold. */
  readonly nUsed: number;
  /** Pages that are held more than once. */
  readonly nShared: number;
  /** Free pages whose content can be found until they are reused. */
  readonly nCached: number;
  readonly nHostPages: number;
  readonly nHostUsed: number;
  readonly nSequences: number;
  /** Slots without a token, of those in pages that are used. */
  readonly wastePercent: number;
  /**
   * Tokens that were found computed by others, of those of all sequences that began. Each counts when it first looks for
   * pages: what it finds again after it gave way is its own.
   */
  readonly hitPercent: number;
}

export interface UsageArgs {
  readonly pool: PagePool;
  readonly host: PagePool;
  readonly pageSize: number;
  readonly sequences: Iterable<ManagedSequence>;
  readonly hitPercent: number;
}

export function usageOf({ pool, host, pageSize, sequences, hitPercent }: UsageArgs): PageUsage {
  const nUsed = pool.nPages - pool.nFree;
  let nSequences = 0;
  let nEmptySlots = 0;
  for (const { table } of sequences) {
    nSequences++;
    if (table.firstPage === table.nPages) continue;
    // Those that share a last page have the same tokens in it, mostly, so each answers for its part.
    nEmptySlots += (table.nPages * pageSize - table.nTokens) / pool.count(table.page(table.nPages - 1));
  }
  return {
    nPages: pool.nPages,
    nUsed,
    nShared: pool.nShared,
    nCached: pool.nCached,
    nHostPages: host.nPages,
    nHostUsed: host.nPages - host.nFree,
    nSequences,
    wastePercent: nUsed === 0 ? 0 : (100 * nEmptySlots) / (nUsed * pageSize),
    hitPercent,
  };
}
