import type { PageManager } from '../../src/paging/pageManager.js';
import type { PageCopy } from '../../src/paging/pageTable.js';
import type { Contexts } from './pagingContexts.js';

export interface PagingOptions {
  readonly nPages: number;
  readonly pageSize: number;
  readonly nHostPages: number;
  readonly window: number;
  readonly isCaching: boolean;
}

/** What must be true of a sequence, which says nothing of pages. */
export interface ModelSequence {
  readonly id: number;
  readonly salt: number;
  readonly isPrivate: boolean;
  tokens: number[];
  nComputed: number;
  nInFlight: number;
  isSwapped: boolean;
}

/** A page manager, and an imaginary memory in which each slot says which token was written there, after which tokens. */
export interface PagingModel {
  readonly options: PagingOptions;
  readonly manager: PageManager;
  readonly sequences: readonly ModelSequence[];
  readonly contexts: Contexts;
  /** [nPages · pageSize] and [nHostPages · pageSize]: contexts, 0 where nothing was written. */
  readonly memory: Int32Array;
  readonly hostMemory: Int32Array;
  /** Copies that may still be made. */
  readonly pending: readonly PageCopy[];
}
