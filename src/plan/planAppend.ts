import type { Dispatch, Scratch } from '../core/dispatch.js';
import { appendK, appendV, rotateQ, rotatedQScratch } from '../kernels/appendKv.js';
import {
  isHostLengths,
  type AttentionProblem,
  type DeviceLengths,
  type HostLengths,
} from '../problem/attentionProblem.js';
import { checkJobs } from './limits.js';

export interface AppendPlan {
  readonly dispatches: readonly Dispatch[];
  /** Where attention finds its queries, if they had to be rotated. */
  readonly rotatedQ: Scratch | null;
}

interface Shared {
  readonly tables: Uint32Array | Scratch;
  readonly maxWorkgroupsPerDimension: number;
}

/** New tokens into the cache, and queries rotated: what happens before attention. */
export function planAppend(
  problem: AttentionProblem,
  lengths: HostLengths | DeviceLengths,
  shared: Shared,
): AppendPlan {
  if (!problem.append) return { dispatches: [], rotatedQ: null };
  const { newK, newV, rotary } = problem.append;
  const fresh = { problem, items: newTokens(problem, lengths), ...shared };
  const queries = { problem, items: rotary ? queryTokens(problem, lengths) : new Uint32Array(0), ...shared };
  const rotatedQ = rotary && queries.items.length > 0 ? rotatedQScratch(problem) : null;
  const dispatches: Dispatch[] = [];
  if (fresh.items.length > 0) {
    if (newK) dispatches.push(appendK(fresh, newK));
    if (newV) dispatches.push(appendV(fresh, newV));
  }
  if (rotary && rotatedQ) dispatches.push(rotateQ(queries, rotary, rotatedQ));
  return { dispatches, rotatedQ };
}

/** (sequence, token) of every new token, or of every one that there may be. */
function newTokens(problem: AttentionProblem, lengths: HostLengths | DeviceLengths): Uint32Array {
  return pairs(problem, 'new tokens', (b) =>
    isHostLengths(lengths) ? lengths.kLen[b]! - lengths.nCached[b]! : lengths.maxNew,
  );
}

function queryTokens(problem: AttentionProblem, lengths: HostLengths | DeviceLengths): Uint32Array {
  return pairs(problem, 'queries to rotate', (b) =>
    isHostLengths(lengths) ? lengths.qLen[b]! : lengths.maxSeqlenQ,
  );
}

function pairs(
  { caller, batch }: AttentionProblem,
  what: string,
  countOf: (sequence: number) => number,
): Uint32Array {
  const counts = Array.from({ length: batch }, (_, b) => countOf(b));
  const total = counts.reduce((sum, count) => sum + count, 0);
  checkJobs(caller, total, what);
  const words = new Uint32Array(2 * total);
  let at = 0;
  counts.forEach((count, b) => {
    for (let token = 0; token < count; token++) {
      words[at++] = b;
      words[at++] = token;
    }
  });
  return words;
}
