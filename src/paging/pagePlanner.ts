import type { PageCopy } from './pool/pagePool.js';
import type { SequenceId } from './sequenceRegistry.js';

/** The pages that a planned step deals with: what it moves, and what it reads and writes. */
export interface PlannedMoves {
  readonly swapsOut: readonly PageCopy[];
  readonly copies: readonly PageCopy[];
  readonly swapsIn: readonly PageCopy[];
  readonly blockTable: Int32Array;
}

/** What a page manager asks of the planner that runs its sequences. */
export interface PagePlanner {
  /** The step that is planned and not committed yet: its copies may be still to be made, its work to be submitted. */
  plannedStep(): PlannedMoves | undefined;
  /** Takes over a sequence that the manager has restored. */
  adopt(args: { readonly sequence: SequenceId; readonly priority?: number }): void;
}

/** The pages that a step deals with, if there is one. */
export function pagesOfStep(step: PlannedMoves | undefined): Set<number> {
  const pages = new Set<number>(step?.blockTable);
  if (!step) return pages;
  for (const [page] of step.swapsOut) pages.add(page);
  for (const [source, target] of step.copies) pages.add(source).add(target);
  for (const [, page] of step.swapsIn) pages.add(page);
  return pages;
}
