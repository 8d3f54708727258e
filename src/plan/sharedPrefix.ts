import type { StepMemory } from '../core/stepMemory.js';
import { splitParts } from '../kernels/shared/attention.js';
import {
  hostLengths,
  isHostLengths,
  NO_MASKS,
  type AttentionProblem,
  type DeviceLengths,
  type HostLengths,
} from '../problem/attentionProblem.js';
import { masksByPosition, masksByTree } from '../problem/tokenMasks.js';
import { bytesPerElement } from '../core/dtype.js';
import { MAX_PART_BYTES } from './splits.js';

// Attention over a shared prefix is a cascade: all query tokens of the batch, as those of one sequence, see the keys of the
// prefix, which are read once; then those of each sequence see its other keys. Both leave parts, which merge_states
// combines as it combines the chunks of split keys.

/** A call whose prefix is read once. */
export interface Cascade {
  /** All query tokens over the prefix, as one sequence without masks. */
  readonly prefix: AttentionProblem<null>;
  readonly prefixLengths: HostLengths;
  /** What is left for each sequence: the prefix is hidden as left padding is. */
  readonly ownLengths: HostLengths;
}

/** The two parts of a call that shares a prefix; null where each sequence reads its own, since that is cheaper or the only way. */
export function cascadeOf(
  problem: AttentionProblem,
  lengths: HostLengths | DeviceLengths,
  memory: StepMemory,
): Cascade | null {
  const { sharedPrefix, pages, q } = problem;
  if (!sharedPrefix || !pages || !isHostLengths(lengths)) return null;
  return memory.keep('cascade', [problem, lengths], () => {
    const { nKeys, table } = sharedPrefix;
    const totalQ = lengths.qLen.reduce((sum, qLen) => sum + qLen, 0);
    const isShared =
      seesWhole(problem, lengths, nKeys) &&
      isEvenlySpaced(problem, lengths) &&
      saves(problem, lengths, totalQ);
    if (!isShared) return null;
    const width = nKeys / pages.pageSize;
    // The same object in each step, since dispatches are kept by it.
    const prefix = memory.keep('prefix problem', [problem], () => ({
      ...problem,
      batch: 1,
      q: { ...q, sequenceStride: 0 },
      pages: { ...pages, table, nRows: 1, width, stride: width },
      masks: NO_MASKS,
      sinks: null,
      append: null,
      sharedPrefix: null,
    }));
    return {
      prefix,
      prefixLengths: hostLengths({ qLen: Int32Array.of(totalQ), kLen: Int32Array.of(nKeys) }),
      ownLengths: { ...lengths, firstKey: new Int32Array(problem.batch).fill(nKeys) },
    };
  });
}

/**
 * Whether every query sees every key of the prefix, with a score that does not depend on where they are. Causal order is by
 * index. Positions of query tokens count for windows, chunks and slopes alone; trees for the keys of query tokens alone,
 * which are the last ones of a sequence.
 */
function seesWhole(
  { masks, slopes, mask, bias, mods }: AttentionProblem,
  lengths: HostLengths,
  nKeys: number,
): boolean {
  const { left, right, attentionChunk, firstKeys, causal } = masks;
  if (slopes || mask || bias || mods || left >= 0 || attentionChunk > 0) return false;
  // They are counted from the left padding, as which the prefix is hidden from the rest of the call.
  if (firstKeys > 0) return false;
  if (right >= 0 && masksByPosition(masks)) return false;
  const inWindow = right < 0 ? Infinity : right;
  const inOrder = masksByTree(masks) ? -1 : causal ? 0 : Infinity;
  return lengths.qLen.every((qLen, b) => {
    if (qLen === 0) return true;
    const lastSeen = lengths.kLen[b]! - qLen + Math.min(inWindow, inOrder);
    return lengths.firstKey[b] === 0 && lastSeen >= nKeys - 1;
  });
}

/** Whether all query tokens of the batch are one after another, as those of one sequence are. */
function isEvenlySpaced({ q }: AttentionProblem, { qLen }: HostLengths): boolean {
  return q.sequenceStride === 0 || qLen.every((n) => q.sequenceStride === n * q.tokenStride);
}

/**
 * Whether the keys and values that are not read again are more bytes than the parts which are written and read for it: one
 * of the prefix and one of its own for each token, at least.
 */
function saves(problem: AttentionProblem, { qLen }: HostLengths, totalQ: number): boolean {
  const { nKvHeads, headDim, headDimV, k, sharedPrefix } = problem;
  const readers = qLen.reduce((n, length) => n + Math.min(length, 1), 0);
  const keyBytes = nKvHeads * (headDim + headDimV) * bytesPerElement(k.tensor.dtype);
  const saved = (readers - 1) * sharedPrefix!.nKeys * keyBytes;
  const partBytes = splitParts(problem, totalQ).scratch.bytes;
  return partBytes * Math.max(1, problem.numSplits) <= MAX_PART_BYTES && saved > 2 * 2 * partBytes;
}
