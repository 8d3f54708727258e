import type { ManagedSequence } from './managedSequence.js';
import type { PageStore } from './pageStore.js';
import type { PageTable } from './pool/pageTable.js';
import type { PublishedPage } from './prefix/pageEvents.js';
import type { SequenceId } from './sequenceRegistry.js';

/** How full a pool is. */
export interface PageUsage {
  readonly nPages: number;
  /** Pages that sequences and pins hold. */
  readonly nUsed: number;
  /** Pages with a refcount above 1. */
  readonly nShared: number;
  /** Free pages whose content can be found until they are reused. */
  readonly nCached: number;
  readonly nHostPages: number;
  readonly nHostUsed: number;
  readonly nSequences: number;
  /** Slots without a token, of those in pages that are used. */
  readonly wastePercent: number;
  /**
   * Tokens that were found in the prefix cache, of the tokens of all sequences that have started. Each counts when it
   * first reserves pages: what it finds again after it was evicted is its own.
   */
  readonly hitPercent: number;
}

export function usageOf(store: PageStore, sequences: Iterable<ManagedSequence>): PageUsage {
  const { pool, hostPool, pageSize, nSearched, nHit } = store;
  const nUsed = pool.nPages - pool.nFree;
  let nSequences = 0;
  let nEmptySlots = 0;
  for (const { table } of sequences) {
    nSequences++;
    if (table.nPages === 0) continue;
    // Sequences that share a last page mostly have the same tokens in it, so each counts a part of its empty slots.
    nEmptySlots += (table.nPages * pageSize - table.nTokens) / pool.count(table.page(table.nPages - 1));
  }
  return {
    nPages: pool.nPages,
    nUsed,
    nShared: pool.nShared,
    nCached: pool.nCached,
    nHostPages: hostPool.nPages,
    nHostUsed: hostPool.nPages - hostPool.nFree,
    nSequences,
    wastePercent: percentOf(nEmptySlots, nUsed * pageSize),
    hitPercent: percentOf(nHit, nSearched),
  };
}

function percentOf(part: number, whole: number): number {
  return whole === 0 ? 0 : (100 * part) / whole;
}

/** The state of a page manager as plain data. */
export interface PageSnapshot {
  readonly nPages: number;
  readonly pageSize: number;
  /** `[nPages]`: the refcount of each page. */
  readonly counts: readonly number[];
  /** The free pages, in eviction order. */
  readonly free: readonly number[];
  readonly freeHostPages: readonly number[];
  /**
   * What a search goes through: pages that can be found, and what leads to them, where a number below −1 is no page.
   */
  readonly published: readonly PublishedPage[];
  readonly sequences: readonly SequencePages[];
  /** The pages of each pin. */
  readonly pins: readonly (readonly number[])[];
}

export interface SequencePages {
  readonly id: SequenceId;
  readonly nTokens: number;
  readonly nComputed: number;
  readonly nInFlight: number;
  /** Column by column, −1 for a page that has left the window. */
  readonly pages: readonly number[];
  /** In host memory. */
  readonly hostPages: readonly number[];
  /** A page that is being copied and that the copy holds, or −1. */
  readonly copySource: number;
}

export function snapshotOf(store: PageStore, sequences: Iterable<ManagedSequence>): PageSnapshot {
  const { pool, hostPool, cache, pins, pageSize } = store;
  return {
    nPages: pool.nPages,
    pageSize,
    counts: Array.from({ length: pool.nPages }, (_, page) => pool.count(page)),
    free: pool.freePages(),
    freeHostPages: hostPool.freePages(),
    published: cache.published(),
    sequences: Array.from(sequences, ({ id, nTokens, nComputed, nInFlight, table, swapped, copySource }) => ({
      id,
      nTokens,
      nComputed,
      nInFlight,
      pages: columnsOf(table),
      hostPages: [...(swapped?.hostPages ?? [])],
      copySource,
    })),
    pins: Array.from(pins.tables(), columnsOf),
  };
}

function columnsOf(table: PageTable): number[] {
  return Array.from({ length: table.nPages }, (_, column) => table.page(column));
}
