import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch } from '../core/dispatch.js';
import {
  appendKDispatch,
  appendVDispatch,
  packNewTokens,
  rotatedQScratch,
  rotateQDispatch,
} from '../kernels/appendKv.js';
import { isHostLengths, type AttentionProblem } from '../problem/attentionProblem.js';
import { checkWorkItems } from './limits.js';
import {
  NO_APPEND,
  planWith,
  type AppendPlan,
  type Lengths,
  type PlanContext,
  type Shared,
} from './planAttention.js';

/**
 * Plans attention after new tokens were appended to a cache and queries rotated, as far as the problem has them.
 *
 * @returns dispatches in order
 */
export function planCachedAttention(
  problem: AttentionProblem,
  lengths: Lengths,
  traits: DeviceTraits,
  context: PlanContext = {},
): readonly Dispatch[] {
  return planWith(planAppend, problem, lengths, traits, context);
}

/** Plans what happens before attention: new tokens are written to the cache, and queries rotated. */
function planAppend(shared: Shared, lengths: Lengths): AppendPlan {
  const { append } = shared.problem;
  if (!append) return NO_APPEND;
  const { newK, newV, rotary } = append;
  // Where lengths are on the GPU, every new token that there may be.
  const newTokens = tokensOf(shared, 'new tokens', (b) =>
    isHostLengths(lengths) ? lengths.kLen[b]! - lengths.nCached[b]! : lengths.maxNew,
  );
  const queries = tokensOf(shared, 'queries to rotate', (b) => {
    if (!rotary) return 0;
    return isHostLengths(lengths) ? lengths.qLen[b]! : lengths.maxSeqlenQ;
  });
  return shared.memory.keep('append', [shared, newTokens, queries], () => {
    const rotatedQ = rotary && queries.length > 0 ? rotatedQScratch(shared.problem) : null;
    const dispatches: Dispatch[] = [];
    if (newTokens.length > 0) {
      if (newK) dispatches.push(appendKDispatch({ ...shared, items: newTokens }, newK));
      if (newV) dispatches.push(appendVDispatch({ ...shared, items: newTokens }, newV));
    }
    if (rotary && rotatedQ) dispatches.push(rotateQDispatch({ ...shared, items: queries }, rotary, rotatedQ));
    return { dispatches, rotatedQ };
  });
}

function tokensOf(
  { problem: { caller, batch }, memory }: Shared,
  what: string,
  countOf: (sequence: number) => number,
): Uint32Array {
  const counts = memory.ints(what, batch);
  let total = 0;
  for (let b = 0; b < batch; b++) total += counts[b] = countOf(b);
  checkWorkItems(caller, total, what);
  return packNewTokens(counts, memory, what);
}
