import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch, Scratch } from '../core/dispatch.js';
import { UNKNOWN_PACE, type Pace } from '../core/pace.js';
import { StepMemory } from '../core/stepMemory.js';
import { isTensor } from '../core/tensor.js';
import { attnDecodeDispatch } from '../kernels/attnDecode.js';
import { attnMatrixDispatch } from '../kernels/attnMatrix.js';
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
import { attentionWork, type KernelTile } from './attentionWork.js';
import { cutsOf } from './dispatchCuts.js';

export type Lengths = HostLengths | DeviceLengths;

/** What all dispatches of a plan have in common. */
export interface Shared<Problem = AttentionProblem> {
  readonly problem: Problem;
  readonly batchInfo: Uint32Array | Scratch;
  readonly maxWorkgroupsPerDimension: number;
  readonly memory: StepMemory;
}

/** What planning depends on besides the problem and the device, and what has no effect on results. */
export interface PlanContext {
  /** How fast the device has proven to be: long work is cut accordingly. */
  readonly pace?: Pace;
  /**
   * That of the plan of a step: dispatches that the last step had too are returned as they were, with their arrays filled
   * again.
   */
  readonly memory?: StepMemory;
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
  context: PlanContext = {},
): readonly Dispatch[] {
  return planWith(() => NO_APPEND, problem, lengths, traits, context);
}

export const NO_APPEND: AppendPlan = { dispatches: [], rotatedQ: null };

/** Plans batch info, then what `planAppend` does, each kernel's share of the sequences, and what to merge. */
export function planWith<Problem extends AttentionProblem>(
  planAppend: (shared: Shared<Problem>, lengths: Lengths, traits: DeviceTraits) => AppendPlan,
  problem: Problem,
  lengths: Lengths,
  traits: DeviceTraits,
  { pace = UNKNOWN_PACE, memory = new StepMemory() }: PlanContext,
): readonly Dispatch[] {
  const { maxWorkgroupsPerDimension } = traits;
  const { lists, merges, nParts } = memory.keep('work', [problem, lengths, traits], () =>
    attentionWork(problem, lengths, traits, memory),
  );
  const { batchInfo, gathers } = planBatchInfo(problem, lengths, traits, memory);
  const shared = memory.keep('shared', [problem, batchInfo, traits], () => ({
    problem,
    batchInfo,
    maxWorkgroupsPerDimension,
    memory,
  }));
  const append = planAppend(shared, lengths, traits);
  const parts = memory.keep('parts', [problem, nParts], () => splitParts(problem, nParts));

  const attention = lists.map((list, i) => {
    const items = packItems(list.items, memory, `items ${i}`);
    const cuts = cutsOf(list, problem, traits, pace);
    const { rotatedQ } = append;
    const of = [
      shared,
      items,
      list.tile,
      list.split && parts,
      rotatedQ,
      ...cuts.flatMap(({ range }) => range),
    ];
    const dispatches = memory.keep(`attention ${i}`, of, () => {
      const work = { ...shared, items, parts: list.split ? parts : null, rotatedQ };
      return cuts.map(({ range }) => attentionDispatchOf({ ...work, range }, list.tile));
    });
    cuts.forEach(({ load }, cut) => (dispatches[cut]!.load = load));
    return dispatches;
  });
  const splitTokens = packSplitTokens(merges, memory);
  const maxParts = merges.reduce((most, token) => Math.max(most, token.nParts), 0);
  const merge = memory.keep('merge', [shared, splitTokens, parts, maxParts], () =>
    nParts > 0 ? [mergeChunksDispatch({ ...shared, items: splitTokens, parts, maxParts, traits })] : [],
  );
  return memory.keep('dispatches', [gathers, append.dispatches, merge, ...attention], () => {
    const work = [...append.dispatches, ...attention.flat(), ...merge];
    return work.length > 0 ? [...gathers, ...work] : [];
  });
}

/** The dispatch of the kernel that a tile belongs to. */
function attentionDispatchOf(work: AttentionWork, tile: KernelTile): Dispatch {
  if ('matrix' in tile) return attnMatrixDispatch(work, tile.matrix);
  return 'decode' in tile ? attnDecodeDispatch(work, tile.decode) : attnPrefillDispatch(work, tile.prefill);
}

const NO_GATHERS: readonly Dispatch[] = [];

/** Lengths, slopes and sinks for all kernels: from the host, or gathered on the GPU where any of them is there. */
export function planBatchInfo(
  problem: AttentionProblem,
  lengths: Lengths,
  { maxWorkgroupsPerDimension }: DeviceTraits,
  memory: StepMemory,
): Pick<Shared, 'batchInfo'> & { readonly gathers: readonly Dispatch[] } {
  const { slopes, sinks } = problem;
  const headsOnGpu = [slopes?.values, sinks].some((numbers) => numbers && isTensor(numbers));
  if (isHostLengths(lengths) && !headsOnGpu) {
    const fill = () => hostBatchInfo(problem, lengths, memory);
    return { batchInfo: memory.keep('batch info', [problem, lengths], fill), gathers: NO_GATHERS };
  }
  const batchInfo = memory.keep('gathered batch info', [problem], (): Scratch => ({
    scratch: 'batch info',
    bytes: Uint32Array.BYTES_PER_ELEMENT * batchInfoLayout(problem).words,
  }));
  const sequences = isHostLengths(lengths) ? hostSequences(problem, lengths, memory) : null;
  const onGpu = isHostLengths(lengths) ? null : lengths;
  const gathers = memory.keep('gathers', [problem, batchInfo, sequences, onGpu], () => {
    const heads = gatherHeadsDispatch({ problem, sequences, batchInfo, maxWorkgroupsPerDimension });
    if (!onGpu) return [heads];
    const gathered = gatherLengthsDispatch({ problem, lengths: onGpu, batchInfo, maxWorkgroupsPerDimension });
    return slopes || sinks ? [gathered, heads] : [gathered];
  });
  return { batchInfo, gathers };
}
