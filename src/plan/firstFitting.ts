import type { DeviceTraits } from '../core/deviceTraits.js';
import { fail } from '../core/errors.js';

/** What a tile asks of a device. */
export interface TileNeeds {
  readonly threads: number;
  /** Of workgroup memory. */
  readonly bytes: number;
}

/**
 * The first tile that a device can run.
 *
 * @throws PageflashError `limit` where none is
 */
export function firstFitting<Tile>(
  traits: DeviceTraits,
  tiles: readonly Tile[],
  needsOf: (tile: Tile) => TileNeeds,
  { caller, headDim }: { readonly caller: string; readonly headDim: number },
): Tile {
  const tile = tiles.find((candidate) => {
    const { threads, bytes } = needsOf(candidate);
    return threads <= traits.maxWorkgroupInvocations && bytes <= traits.maxWorkgroupBytes;
  });
  if (tile) return tile;
  const least = Math.min(...tiles.map((candidate) => needsOf(candidate).bytes));
  fail(
    'limit',
    caller,
    `the smallest tile for headDim ${headDim} needs ${least} bytes of workgroup memory; this device allows ${traits.maxWorkgroupBytes}. Ask for maxComputeWorkgroupStorageSize, or use requestDevice().`,
  );
}
