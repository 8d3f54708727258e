import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch, Scratch } from '../core/dispatch.js';
import { listNewTokens } from '../kernels/appendKv.js';
import { hostSequences } from '../kernels/shared/batchInfo.js';
import { turnHeadsDispatch } from '../kernels/turnHeads.js';
import { isHostLengths, type AttentionProblem } from '../problem/attentionProblem.js';
import { turnedBytes } from '../problem/turned.js';
import { checkWorkItems } from './limits.js';
import { NO_APPEND, planWith, type AppendPlan, type PlanContext, type Shared } from './planAttention.js';
import type { Lengths } from './planBatchInfo.js';

/**
 * Plans attention to pages, whose heads may be turned: `planAttention`, and what turns queries before it and outputs after
 * it.
 *
 * @returns dispatches in order
 */
export function planPagedAttention(
  problem: AttentionProblem<null>,
  lengths: Lengths,
  traits: DeviceTraits,
  context: PlanContext = {},
): readonly Dispatch[] {
  return planWith({ planAppend: planTurns, cascadeOf: () => null }, problem, lengths, traits, context);
}

/** Plans what turns queries, rotated if they are, and outputs, where heads are turned. */
export function planTurns(shared: Shared, lengths: Lengths): AppendPlan {
  const { problem, memory } = shared;
  const { turned } = problem;
  if (!turned) return NO_APPEND;
  const counts = countsOf(shared, 'queries to turn', queryCount(lengths));
  if (counts.every((count) => count === 0)) return NO_APPEND;
  const tokens = listNewTokens(
    counts,
    shared.batchInfo,
    recordsOf(shared, lengths),
    memory,
    'turned queries',
  );
  const [rotatedQ, turnedOut] = memory.keep('turned', [problem], () => [
    { scratch: 'rotated q', bytes: turnedBytes(turned.q) },
    turned.out && { scratch: 'turned out', bytes: turnedBytes(turned.out) },
  ]) as [Scratch, Scratch | null];
  const turn = (heads: 'q' | 'out', scratch: Scratch): Dispatch =>
    memory.keep(`turn ${heads}`, [shared, ...Object.values(tokens)], () =>
      turnHeadsDispatch({ ...shared, tokens, heads, scratch }),
    );
  const queries = turn('q', rotatedQ);
  const outputs = turnedOut && turn('out', turnedOut);
  return memory.keep('turns', [queries, outputs], () => ({
    dispatches: [queries],
    rotatedQ,
    turnedOut,
    after: outputs ? [outputs] : [],
  }));
}

/** The query tokens of a sequence, or as many as there may be. */
export function queryCount(lengths: Lengths): (sequence: number) => number {
  if (isHostLengths(lengths)) return (b) => lengths.qLen[b]!;
  return () => lengths.maxSeqlenQ;
}

/** Tokens of each sequence that a list is to have, checked for how many there are. */
export function countsOf(
  { problem: { caller, batch }, memory }: Shared,
  what: string,
  countOf: (sequence: number) => number,
): Uint32Array {
  const counts = memory.words(what, batch);
  let total = 0;
  for (let b = 0; b < batch; b++) total += counts[b] = countOf(b);
  checkWorkItems(caller, total, what);
  return counts;
}

/** What a list of tokens can follow, as far as the host knows it: lengths of sequences, and positions where they have any. */
export function recordsOf(
  { problem, batchInfo, memory }: Shared,
  lengths: Lengths,
): (() => Uint32Array) | null {
  if (!isHostLengths(lengths)) return null;
  if (!problem.masks.tokens?.positionRows) return () => hostSequences(problem, lengths, memory);
  return batchInfo instanceof Uint32Array ? () => batchInfo : null;
}
