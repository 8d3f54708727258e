import type { SequenceId } from './registry.js';
import type { ManagedSequence } from './managedSequence.js';
import type { PublishedPage } from './pageEvents.js';
import type { PageStore } from './pageStore.js';
import type { PageTable } from './pool/pageTable.js';

/** The state of a page manager as plain data. */
export interface PageSnapshot {
  readonly nPages: number;
  readonly pageSize: number;
  /** [nPages]: how often each page is held. */
  readonly counts: readonly number[];
  /** The pages that nobody holds, in the order in which they will be reused. */
  readonly free: readonly number[];
  readonly freeHostPages: readonly number[];
  /** What a search goes through: pages that can be found, and what leads to them, where a number below −1 is no page. */
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
  /** Column by column, −1 for a page behind the window. */
  readonly pages: readonly number[];
  /** In host memory. */
  readonly hostPages: readonly number[];
  /** A page that is being copied and nobody else holds, or −1. */
  readonly copySource: number;
}

export interface SnapshotArgs {
  readonly store: PageStore;
  readonly sequences: Iterable<ManagedSequence>;
}

export function snapshotOf({ store, sequences }: SnapshotArgs): PageSnapshot {
  const { pool, host, cache, pins, pageSize } = store;
  const pages = Array.from({ length: pool.nPages }, (_, page) => page);
  return {
    nPages: pool.nPages,
    pageSize,
    counts: pages.map((page) => pool.count(page)),
    free: pool.freePages(),
    freeHostPages: host.freePages(),
    published: cache.published(),
    sequences: Array.from(sequences, ({ id, nTokens, nComputed, nInFlight, table, swapped, copySource }) => ({
      id,
      nTokens,
      nComputed,
      nInFlight,
      pages: pagesOf(table),
      hostPages: [...(swapped?.hostPages ?? [])],
      copySource,
    })),
    pins: Array.from(pins.tables(), pagesOf),
  };
}

function pagesOf(table: PageTable): number[] {
  return Array.from({ length: table.nPages }, (_, column) => table.page(column));
}
