import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch, Scratch } from '../core/dispatch.js';
import { isTensor } from '../core/tensor.js';
import { splitParts, type AttentionWork } from '../kernels/shared/attention.js';
import {
  isHostLengths,
  type AttentionProblem,
  type DeviceLengths,
  type HostLengths,
} from '../problem/attentionProblem.js';
import { attnDecode } from '../kernels/attnDecode.js';
import { attnPrefill } from '../kernels/attnPrefill.js';
import { hostSequences, hostTables, tablesLayout } from '../kernels/shared/batchInfo.js';
import { gatherHeads } from '../kernels/gatherHeads.js';
import { gatherLengths } from '../kernels/gatherLengths.js';
import { mergeSplits } from '../kernels/mergeStates.js';
import { attentionWork, type WorkGroup } from './attentionWork.js';
import { planAppend } from './planAppend.js';

/**
 * Multiply-adds that one dispatch may take on: about 50 ms on the slowest adapters of a class. Operating systems take
 * the device away from whoever keeps it for some seconds, and a page is not drawn meanwhile.
 */
const DISPATCH_MACS: Readonly<Record<DeviceTraits['deviceClass'], number>> = {
  software: 1e9,
  gpu: 2e10,
};

/** Attention, as dispatches in order: tables, new tokens, each kernel's share of the sequences, and what to merge. */
export function planAttention(
  problem: AttentionProblem,
  lengths: HostLengths | DeviceLengths,
  traits: DeviceTraits,
): Dispatch[] {
  const { maxWorkgroupsPerDimension } = traits;
  const { groups, merges, nSlots } = attentionWork(problem, lengths, traits);
  const { tables, gathers } = planTables(problem, lengths, traits);
  const append = planAppend(problem, lengths, { tables, maxWorkgroupsPerDimension });
  const parts = splitParts(problem, nSlots);

  const attention = groups.flatMap((group) => {
    const work: Omit<AttentionWork, 'range'> = {
      problem,
      tables,
      items: group.items,
      parts: group.split ? parts : null,
      rotatedQ: append.rotatedQ,
      maxWorkgroupsPerDimension,
    };
    return rangesOf(group, problem, traits).map((range) =>
      'decode' in group.tile
        ? attnDecode({ ...work, range }, group.tile.decode)
        : attnPrefill({ ...work, range }, group.tile.prefill),
    );
  });
  const merge =
    nSlots > 0 ? [mergeSplits({ problem, tables, items: merges, parts, maxWorkgroupsPerDimension })] : [];
  const work = [...append.dispatches, ...attention, ...merge];
  return work.length > 0 ? [...gathers, ...work] : [];
}

/** The tables of all kernels: from the host, or gathered on the GPU where any of it is there. */
function planTables(
  problem: AttentionProblem,
  lengths: HostLengths | DeviceLengths,
  { maxWorkgroupsPerDimension }: DeviceTraits,
): { readonly tables: Uint32Array | Scratch; readonly gathers: readonly Dispatch[] } {
  const { slopes, sinks } = problem;
  const headsOnGpu = [slopes?.values, sinks].some((numbers) => numbers && isTensor(numbers));
  if (isHostLengths(lengths) && !headsOnGpu) return { tables: hostTables(problem, lengths), gathers: [] };
  const tables: Scratch = { scratch: 'tables', bytes: 4 * tablesLayout(problem).words };
  const sequences = isHostLengths(lengths) ? hostSequences(problem, lengths) : null;
  const heads = gatherHeads({ problem, sequences, tables, maxWorkgroupsPerDimension });
  if (isHostLengths(lengths)) return { tables, gathers: [heads] };
  const gathered = gatherLengths({ problem, lengths, tables, maxWorkgroupsPerDimension });
  return { tables, gathers: slopes || sinks ? [gathered, heads] : [gathered] };
}

/** Ranges of a group's items, in order, that each are work for one dispatch, or one item. */
function rangesOf(
  { keyTiles, tileArea }: WorkGroup,
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
