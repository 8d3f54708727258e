import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch, Scratch } from '../core/dispatch.js';
import { isTensor } from '../core/tensor.js';
import { attnDecodeDispatch } from '../kernels/attnDecode.js';
import { attnPrefillDispatch } from '../kernels/attnPrefill.js';
import { gatherHeadsDispatch } from '../kernels/gatherHeads.js';
import { gatherLengthsDispatch } from '../kernels/gatherLengths.js';
import { mergeChunksDispatch, packSplitTokens } from '../kernels/mergeStates.js';
import { packItems, splitParts, type AttentionWork } from '../kernels/shared/attention.js';
import { batchInfoLayout, hostBatchInfo, hostSequences } from '../kernels/shared/batchInfo.js';
import {
  isHostLengths,
  type AttentionProblem,
  type DeviceLengths,
  type HostLengths,
} from '../problem/attentionProblem.js';
import { attentionWork, type WorkList } from './attentionWork.js';

export type Lengths = HostLengths | DeviceLengths;

/** What all dispatches of a plan have in common. */
export interface Shared<Problem = AttentionProblem> {
  readonly problem: Problem;
  readonly batchInfo: Uint32Array | Scratch;
  readonly maxWorkgroupsPerDimension: number;
}

/** What happens before attention: appends and rotations. */
export interface AppendPlan {
  readonly dispatches: readonly Dispatch[];
  /** Where attention finds its queries, if they had to be rotated. */
  readonly rotatedQ: Scratch | null;
}

/**
 * Plans attention that appends nothing. `planCachedAttention` plans any; an engine that never appends does not load it.
 *
 * @returns dispatches in order
 */
export function planAttention(
  problem: AttentionProblem<null>,
  lengths: Lengths,
  traits: DeviceTraits,
): Dispatch[] {
  return planWith(() => ({ dispatches: [], rotatedQ: null }), problem, lengths, traits);
}

/** Plans batch info, then what `planAppend` does, each kernel's share of the sequences, and what to merge. */
export function planWith<Problem extends AttentionProblem>(
  planAppend: (shared: Shared<Problem>, lengths: Lengths) => AppendPlan,
  problem: Problem,
  lengths: Lengths,
  traits: DeviceTraits,
): Dispatch[] {
  const { maxWorkgroupsPerDimension } = traits;
  const { lists, merges, nParts } = attentionWork(problem, lengths, traits);
  const { batchInfo, gathers } = planBatchInfo(problem, lengths, traits);
  const shared = { problem, batchInfo, maxWorkgroupsPerDimension };
  const append = planAppend(shared, lengths);
  const parts = splitParts(problem, nParts);

  const attention = lists.flatMap((list) => {
    const work: Omit<AttentionWork, 'range'> = {
      ...shared,
      items: packItems(list.items),
      parts: list.split ? parts : null,
      rotatedQ: append.rotatedQ,
    };
    return rangesOf(list, problem, traits).map((range) =>
      'decode' in list.tile
        ? attnDecodeDispatch({ ...work, range }, list.tile.decode)
        : attnPrefillDispatch({ ...work, range }, list.tile.prefill),
    );
  });
  const merge = nParts > 0 ? [mergeChunksDispatch({ ...shared, items: packSplitTokens(merges), parts })] : [];
  const work = [...append.dispatches, ...attention, ...merge];
  return work.length > 0 ? [...gathers, ...work] : [];
}

/** Lengths, slopes and sinks for all kernels: from the host, or gathered on the GPU where any of them is there. */
function planBatchInfo(
  problem: AttentionProblem,
  lengths: Lengths,
  { maxWorkgroupsPerDimension }: DeviceTraits,
): Pick<Shared, 'batchInfo'> & { readonly gathers: readonly Dispatch[] } {
  const { slopes, sinks } = problem;
  const headsOnGpu = [slopes?.values, sinks].some((numbers) => numbers && isTensor(numbers));
  if (isHostLengths(lengths) && !headsOnGpu)
    return { batchInfo: hostBatchInfo(problem, lengths), gathers: [] };
  const batchInfo: Scratch = {
    scratch: 'batch info',
    bytes: Uint32Array.BYTES_PER_ELEMENT * batchInfoLayout(problem).words,
  };
  const sequences = isHostLengths(lengths) ? hostSequences(problem, lengths) : null;
  const heads = gatherHeadsDispatch({ problem, sequences, batchInfo, maxWorkgroupsPerDimension });
  if (isHostLengths(lengths)) return { batchInfo, gathers: [heads] };
  const gathered = gatherLengthsDispatch({ problem, lengths, batchInfo, maxWorkgroupsPerDimension });
  return { batchInfo, gathers: slopes || sinks ? [gathered, heads] : [gathered] };
}

/**
 * Multiply-adds that one dispatch may take on: about 50 ms on the slowest adapters of a class. An operating system resets
 * a device that is busy for some seconds, and a page is not drawn meanwhile.
 */
const DISPATCH_MACS: Readonly<Record<DeviceTraits['deviceClass'], number>> = {
  software: 1e9,
  gpu: 2e10,
};

/** Returns ranges of a list's items, in order, each of them work for one dispatch, or one item. */
function rangesOf(
  { keyTiles, tileArea }: WorkList,
  { headDim, headDimV, nKvHeads }: AttentionProblem,
  { deviceClass }: DeviceTraits,
): [number, number][] {
  const limit = DISPATCH_MACS[deviceClass] / (tileArea * (headDim + headDimV) * nKvHeads);
  const ranges: [number, number][] = [];
  let start = 0;
  let work = 0;
  keyTiles.forEach((cost, i) => {
    if (i > start && work + cost > limit) {
      ranges.push([start, i]);
      start = i;
      work = 0;
    }
    work += cost;
  });
  ranges.push([start, keyTiles.length]);
  return ranges;
}
