import type { DeviceTraits } from '../core/deviceTraits.js';
import { fail } from '../core/errors.js';

/** What a tile asks of a device. */
export interface TileNeeds {
  readonly invocations: number;
  /** Of workgroup memory. */
  readonly bytes: number;
}

/**
 * The first of several tiles that a device can run.
 *
 * @throws PageflashError `limit` if it can run none
 */
export function fittingTile<Tile>(
  traits: DeviceTraits,
  tiles: readonly Tile[],
  needsOf: (tile: Tile) => TileNeeds,
  { caller, headDim }: { readonly caller: string; readonly headDim: number },
): Tile {
  const tile = tiles.find((candidate) => fits(traits, needsOf(candidate)));
  if (tile) return tile;
  const least = Math.min(...tiles.map((candidate) => needsOf(candidate).bytes));
  fail(
    'limit',
    caller,
    `the smallest tile for headDim ${headDim} needs ${least} bytes of workgroup memory; this device allows ${traits.maxWorkgroupBytes}. Ask for maxComputeWorkgroupStorageSize, or use requestDevice().`,
  );
}

/** Whether a device can run a tile. */
export function fits(traits: DeviceTraits, { invocations, bytes }: TileNeeds): boolean {
  return invocations <= traits.maxWorkgroupInvocations && bytes <= traits.maxWorkgroupBytes;
}

/** The size that all subgroups of a device have; 0 if they differ or are not to be used. */
export function fixedSubgroupSize({ subgroupMinSize, subgroupMaxSize }: DeviceTraits): number {
  return subgroupMinSize === subgroupMaxSize ? subgroupMinSize : 0;
}
