import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch, Scratch } from '../core/dispatch.js';
import type { FloatDType } from '../core/dtype.js';
import { isTensor } from '../core/tensor.js';
import {
  isHostLengths,
  type AttentionProblem,
  type DeviceLengths,
  type HostLengths,
} from '../kernels/attentionProblem.js';
import { attnPrefill, tileKeys, tileRows, type PrefillTile } from '../kernels/attnPrefill.js';
import { hostTables, tablesLayout } from '../kernels/attnTables.js';
import { gatherTables } from '../kernels/gatherTables.js';
import { prefillTile } from './prefillTile.js';
import { workItems } from './workItems.js';

/**
 * Multiply-adds that one dispatch may take on: about 50 ms on the slowest adapters of a class. Operating systems take
 * the device away from whoever keeps it for some seconds, and a page is not drawn meanwhile.
 */
const DISPATCH_MACS: Readonly<Record<DeviceTraits['deviceClass'], number>> = {
  software: 1e9,
  gpu: 2e10,
};

/** Attention of many query rows, as dispatches in order. */
export function planPrefill(
  problem: AttentionProblem,
  lengths: HostLengths | DeviceLengths,
  traits: DeviceTraits,
): Dispatch[] {
  const tile = prefillTile(traits, {
    headDim: problem.headDim,
    headDimV: problem.headDimV,
    qDType: problem.q.tensor.dtype as FloatDType,
    kvDType: problem.k.tensor.dtype as FloatDType,
    paged: problem.pages !== null,
  });
  const { items, keyTiles } = workItems(problem, lengths, tile);
  if (keyTiles.length === 0) return [];

  const { maxWorkgroupsPerDimension } = traits;
  const ranges = splitByWork(keyTiles, DISPATCH_MACS[traits.deviceClass] / macsPerKeyTile(problem, tile));
  const prefills = (tables: Uint32Array | Scratch): Dispatch[] =>
    ranges.map((range) => attnPrefill({ problem, tile, tables, items, range, maxWorkgroupsPerDimension }));

  if (isHostLengths(lengths) && !hasNumbersOnGpu(problem)) return prefills(hostTables(problem, lengths));
  const tables: Scratch = { scratch: 'tables', bytes: 4 * tablesLayout(problem).words };
  return [gatherTables({ problem, lengths, tables, maxWorkgroupsPerDimension }), ...prefills(tables)];
}

function hasNumbersOnGpu({ slopes, sinks }: AttentionProblem): boolean {
  return [slopes?.values, sinks].some((numbers) => numbers && isTensor(numbers));
}

/** What a workgroup does for one tile of keys, over all kv heads. */
function macsPerKeyTile({ headDim, headDimV, nKvHeads }: AttentionProblem, tile: PrefillTile): number {
  return tileRows(tile) * tileKeys(tile) * (headDim + headDimV) * nKvHeads;
}

/** Ranges of items, in order, of at most `limit` key tiles each, or of one item. */
function splitByWork(keyTiles: Uint32Array, limit: number): [number, number][] {
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
