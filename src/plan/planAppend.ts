import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch } from '../core/dispatch.js';
import {
  appendDispatch,
  canAppendAndRotate,
  listNewTokens,
  rotatedQScratch,
  type Appended,
  type NewTokens,
} from '../kernels/appendKv.js';
import { appendQuantisedDispatch } from '../kernels/appendQuantised.js';
import { isHostLengths, type AttentionProblem, type DeviceLengths } from '../problem/attentionProblem.js';
import { planWith, type AppendPlan, type PlanContext, type Shared } from './planAttention.js';
import type { Lengths } from './planBatchInfo.js';
import { countsOf, planTurns, queryCount, recordsOf } from './planTurns.js';
import { cascadeOf } from './sharedPrefix.js';

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
  return planWith({ planAppend, cascadeOf }, problem, lengths, traits, context);
}

/**
 * Plans what happens before attention: new tokens are written to the cache, and queries rotated. It is one dispatch where
 * the device can bind as many buffers, else one for the cache and one for queries. A quantised cache takes one for keys and
 * one for values.
 */
export function planAppend(shared: Shared, lengths: Lengths, traits: DeviceTraits): AppendPlan {
  const { problem, memory } = shared;
  const { append, scales } = problem;
  // Queries that are turned are rotated before, both at once.
  const turns = planTurns(shared, lengths);
  if (!append) return turns;
  const { newK, newV, rotary } = append;
  // Keys and values of a quantised cache have more buffers together than some devices can bind.
  const apart = append.apart || scales !== null;
  const known = isHostLengths(lengths) ? lengths : null;
  const { maxNew } = lengths as DeviceLengths;
  // Where lengths are on the GPU, every new token that there may be.
  const newTokens = countsOf(shared, 'new tokens', (b) =>
    known ? known.kLen[b]! - known.nCached[b]! : maxNew,
  );
  const queriesOf = rotary && !problem.turned ? queryCount(lengths) : () => 0;
  const queries = countsOf(shared, 'queries to rotate', queriesOf);
  const rotates = queries.some((count) => count > 0);
  const rotatedQ = rotates ? memory.keep('rotated q', [problem], () => rotatedQScratch(problem)) : null;
  const appends = (newK || newV) !== null && newTokens.some((count) => count > 0);
  const nothing: Appended = { newK: null, newV: null, rotatedQ: null };

  const tokensOf = (name: string, counts: Uint32Array): NewTokens =>
    listNewTokens(counts, shared.batchInfo, recordsOf(shared, lengths), memory, name);
  const plan = (name: string, counts: Uint32Array, writes: Appended): Dispatch => {
    const tokens = tokensOf(name, counts);
    const of = [shared, ...Object.values(tokens), ...Object.values(writes)];
    return memory.keep(name, of, () => appendDispatch({ ...shared, tokens, writes }));
  };
  const quantised = (side: 'k' | 'v'): Dispatch => {
    const name = `append quantised ${side}`;
    const tokens = tokensOf(name, newTokens);
    return memory.keep(name, [shared, ...Object.values(tokens)], () =>
      appendQuantisedDispatch({ ...shared, tokens, side }),
    );
  };
  const dispatches: Dispatch[] = [];
  if (appends && rotates && !apart && canAppendAndRotate(traits)) {
    const either = countsOf(shared, 'new tokens or queries', (b) => Math.max(newTokens[b]!, queries[b]!));
    dispatches.push(plan('append and rotate', either, { newK, newV, rotatedQ }));
  } else {
    if (appends && scales) {
      if (newK) dispatches.push(quantised('k'));
      if (newV) dispatches.push(quantised('v'));
    } else if (appends && apart) {
      if (newK) dispatches.push(plan('append k', newTokens, { ...nothing, newK }));
      if (newV) dispatches.push(plan('append v', newTokens, { ...nothing, newV }));
    } else if (appends) {
      dispatches.push(plan('append', newTokens, { ...nothing, newK, newV }));
    }
    if (rotates) dispatches.push(plan('rotate', queries, { ...nothing, rotatedQ }));
  }
  return memory.keep('append plan', [rotatedQ, turns, ...dispatches], () => ({
    ...turns,
    dispatches: [...dispatches, ...turns.dispatches],
    rotatedQ: rotatedQ ?? turns.rotatedQ,
  }));
}
