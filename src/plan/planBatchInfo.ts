import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch, Scratch } from '../core/dispatch.js';
import type { StepMemory } from '../core/stepMemory.js';
import { isTensor, type Tensor } from '../core/tensor.js';
import { gatherBlocksDispatch } from '../kernels/gatherBlocks.js';
import { gatherHeadsDispatch } from '../kernels/gatherHeads.js';
import { gatherLengthsDispatch } from '../kernels/gatherLengths.js';
import { gatherTokensDispatch } from '../kernels/gatherTokens.js';
import { batchInfoLayout, headScalesOf, hostBatchInfo, hostSequences } from '../kernels/shared/batchInfo.js';
import {
  isHostLengths,
  type AttentionProblem,
  type DeviceLengths,
  type HostLengths,
} from '../problem/attentionProblem.js';

export type Lengths = HostLengths | DeviceLengths;

const NO_DISPATCHES: readonly Dispatch[] = [];

interface BatchToPlan {
  readonly problem: AttentionProblem;
  readonly lengths: Lengths;
  /** What `packItems` returns for them on this device, or other records of their size. */
  readonly items: Uint32Array;
  readonly traits: DeviceTraits;
  readonly memory: StepMemory;
  /** Of the memory in which it is gathered. */
  readonly name?: string | undefined;
}

/** Batch info, and what writes it on the GPU. */
interface BatchInfoPlan {
  readonly batchInfo: Uint32Array | Scratch;
  readonly gathers: readonly Dispatch[];
}

/**
 * Lengths, numbers of heads and tokens, blocks, and items, for all kernels: from the host, or gathered on the GPU where any
 * of it is there.
 */
export function planBatchInfo({
  problem,
  lengths,
  items,
  traits,
  memory,
  name = 'batch info',
}: BatchToPlan): BatchInfoPlan {
  const { maxWorkgroupsPerDimension } = traits;
  const { slopes, sinks, blocks } = problem;
  const scales = headScalesOf(problem);
  const { tokens } = lengths;
  const heads = [slopes?.values, sinks, scales?.k, scales?.v];
  const lists = [blocks?.listed.counts, blocks?.full?.counts];
  const areOnGpu = [...heads, tokens?.positions, tokens?.tree, ...lists].some(
    (numbers) => numbers && isTensor(numbers),
  );
  if (isHostLengths(lengths) && !areOnGpu) {
    const fill = () => hostBatchInfo(problem, lengths, items, memory);
    return { batchInfo: memory.keep('batch info', [problem, lengths, traits], fill), gathers: NO_DISPATCHES };
  }
  const batchInfo = memory.keep('gathered batch info', [problem, items.length], (): Scratch => ({
    scratch: name,
    bytes: Uint32Array.BYTES_PER_ELEMENT * (batchInfoLayout(problem).itemWord + items.length),
  }));
  const sequences = isHostLengths(lengths) ? hostSequences(problem, lengths, memory) : null;
  const onGpu = isHostLengths(lengths) ? null : lengths;
  const starts = tokens ? startsOf(problem, lengths) : null;
  const of = [problem, batchInfo, sequences, items, onGpu, tokens?.positions, tokens?.tree, starts];
  const gathers = memory.keep('gathers', of, () => {
    const common = { problem, batchInfo, maxWorkgroupsPerDimension };
    const dispatches: Dispatch[] = [];
    if (onGpu) dispatches.push(gatherLengthsDispatch({ ...common, items, lengths: onGpu }));
    if (!onGpu || slopes || sinks || scales)
      dispatches.push(gatherHeadsDispatch({ ...common, sequences, items: onGpu ? null : items }));
    if (blocks) dispatches.push(gatherBlocksDispatch({ ...common, blocks }));
    if (tokens) dispatches.push(gatherTokensDispatch({ ...common, tokens, starts }));
    return dispatches;
  });
  return { batchInfo, gathers };
}

/** The first query token of each sequence; null in a dense batch. */
function startsOf({ masks }: AttentionProblem, lengths: Lengths): Tensor | Int32Array | null {
  if (masks.tokens!.sequenceTokens > 0) return null;
  return isHostLengths(lengths) ? lengths.qStart : lengths.cuSeqlensQ;
}
