import type { SequenceId } from './registry.js';
import type { ManagedSequence } from './managedSequence.js';
import { NULL_PAGE } from './pageList.js';
import type { PageStore } from './pageStore.js';
import type { PageTable } from './pageTable.js';

/** The state of a page manager as plain data. */
export interface PageSnapshot {
  readonly nPages: number;
  readonly pageSize: number;
  /** [nPages]: how often each page is held. */
  readonly counts: readonly number[];
  /** The pages that nobody holds, in the order in which they will be reused. */
  readonly free: readonly number[];
  readonly freeHostPages: readonly number[];
  /** The pages that can be found. */
  readonly published: readonly PublishedPage[];
  readonly sequences: readonly SequencePages[];
  /** The pages of each pin. */
  readonly pins: readonly (readonly number[])[];
}

export interface PublishedPage {
  readonly page: number;
  /** −1 for a first page. */
  readonly parent: number;
  /** Of a first page. */
  readonly salt: number;
  readonly tokens: readonly number[];
  /** Whether the page before was reused, so that no search comes here. */
  readonly isOrphan: boolean;
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
  readonly pins: ReadonlyMap<number, PageTable>;
}

export function snapshotOf({ store, sequences, pins }: SnapshotArgs): PageSnapshot {
  const { pool, host, cache, pageSize } = store;
  const pages = Array.from({ length: pool.nPages }, (_, page) => page);
  return {
    nPages: pool.nPages,
    pageSize,
    counts: pages.map((page) => pool.count(page)),
    free: pool.freePages(),
    freeHostPages: host.freePages(),
    published: pages
      .filter((page) => cache.has(page))
      .map((page) => ({
        page,
        parent: cache.parent(page),
        salt: cache.parent(page) === NULL_PAGE ? cache.salt(page) : 0,
        tokens: [...cache.tokens(page)],
        isOrphan: cache.isOrphan(page),
      })),
    sequences: Array.from(sequences, ({ id, nTokens, nComputed, nInFlight, table, swapped, copySource }) => ({
      id,
      nTokens,
      nComputed,
      nInFlight,
      pages: pagesOf(table),
      hostPages: [...(swapped?.hostPages ?? [])],
      copySource,
    })),
    pins: Array.from(pins.values(), pagesOf),
  };
}

function pagesOf(table: PageTable): number[] {
  return Array.from({ length: table.nPages }, (_, column) => table.page(column));
}
