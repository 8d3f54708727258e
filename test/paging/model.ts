import type { PageManager } from '../../src/paging/pageManager.js';
import type { PageCopy } from '../../src/paging/pool/pagePool.js';
import type { Contexts } from './contexts.js';
import type { Router } from './router.js';

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
  /** Tokens that were computed at some time, wherever they are now. */
  nReached: number;
  isSwapped: boolean;
  /** Whether it has looked for pages. */
  hasAsked: boolean;
}

/** What was pinned, and must be found until it is unpinned. */
export interface ModelPin {
  readonly id: number;
  readonly salt: number;
  /** Whole pages; none after a reset. */
  tokens: readonly number[];
}

/** What sequences found when they first asked. */
export interface ModelHits {
  nAsked: number;
  nHit: number;
}

/** A page manager, and an imaginary memory in which each slot says which token was written there, after which tokens. */
export interface PagingModel {
  readonly options: PagingOptions;
  readonly manager: PageManager;
  /** Hears of the manager's pages. */
  readonly router: Router;
  readonly sequences: readonly ModelSequence[];
  readonly pins: readonly ModelPin[];
  readonly hits: ModelHits;
  readonly contexts: Contexts;
  /** [nPages · pageSize] and [nHostPages · pageSize]: contexts, 0 where nothing was written. */
  readonly memory: Int32Array;
  readonly hostMemory: Int32Array;
  /** Copies that may still be made. */
  readonly pending: readonly PageCopy[];
}

/** The first tokens of a sequence are computed. */
export function reach(sequence: ModelSequence, nComputed: number): void {
  sequence.nComputed = nComputed;
  sequence.nReached = Math.max(sequence.nReached, nComputed);
}

/** Whether nobody waits for anything that a sequence would give. */
export function isResting({ nReached, tokens }: ModelSequence): boolean {
  return nReached === tokens.length;
}
