import type { PageManager } from '../../../src/paging/pageManager.js';
import type { StepPlannerOptions } from '../../../src/paging/planner/stepPlanner.js';
import type { PageCopy } from '../../../src/paging/pool/pagePool.js';
import type { KvIds } from './kvMemory.js';
import type { EventRouter } from './eventRouter.js';

export interface PagingOptions {
  readonly nPages: number;
  readonly pageSize: number;
  readonly nHostPages: number;
  readonly window: number;
  readonly firstKeys: number;
  readonly isCaching: boolean;
}

/** The expected state of a sequence, without its pages. */
export interface ModelSequence {
  readonly id: number;
  readonly salt: number;
  readonly isPrivate: boolean;
  tokens: number[];
  nComputed: number;
  nInFlight: number;
  /** The first tokens that were computed at some time, wherever their pages are now. */
  nOnceComputed: number;
  isSwapped: boolean;
  /** Whether its first search is in the hit rate. */
  isCounted: boolean;
}

/** What was pinned, and must be found until it is unpinned. */
export interface ModelPin {
  readonly id: number;
  readonly salt: number;
  /** Whole pages; none after a reset. */
  tokens: readonly number[];
}

/** Tokens of the first searches of all sequences, and those that were found. */
export interface ModelHits {
  nSearched: number;
  nHit: number;
}

/** A page manager, and a memory that has in each slot the KV id of what was written there. */
export interface PagingModel {
  readonly options: PagingOptions;
  readonly manager: PageManager;
  /** Knows the published pages from the events of the manager. */
  readonly router: EventRouter;
  readonly sequences: readonly ModelSequence[];
  readonly pins: readonly ModelPin[];
  readonly hits: ModelHits;
  readonly kvIds: KvIds;
  /** [nPages · pageSize] and [nHostPages · pageSize]: KV ids, 0 where nothing was written. */
  readonly memory: Int32Array;
  readonly hostMemory: Int32Array;
  /** Copies that may still be made. */
  readonly pending: readonly PageCopy[];
}

export interface FakeEngineOptions extends PagingOptions, Required<Omit<StepPlannerOptions, 'pages'>> {}

export interface EngineSequence extends ModelSequence {
  readonly priority: number;
  readonly arrival: number;
  nNew: number;
  /** Tokens at the end that are guesses. */
  nDrafts: number;
}

/** An engine around a step planner, likewise. */
export interface EngineModel extends PagingModel {
  readonly options: FakeEngineOptions;
  readonly sequences: readonly EngineSequence[];
}

/** The first tokens of a sequence are computed. */
export function setComputed(sequence: ModelSequence, nComputed: number): void {
  sequence.nComputed = nComputed;
  sequence.nOnceComputed = Math.max(sequence.nOnceComputed, nComputed);
}

/** Whether a sequence has nothing to compute. */
export function isResting({ nOnceComputed, tokens }: ModelSequence): boolean {
  return nOnceComputed === tokens.length;
}
