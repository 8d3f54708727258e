import type { DeviceTraits } from '../core/deviceTraits.js';
import { decodeTileKeys, decodeWorkgroupBytes, type DecodeTile } from '../kernels/attnDecode.js';
import { fits, fittingTile, fixedSubgroupSize, type TileNeeds } from './fittingTile.js';

/** The most rows that a workgroup of attn_decode takes: each needs registers for its whole output. */
const MAX_TILE_ROWS = 8;

export interface DecodeTileArgs {
  readonly headDim: number;
  readonly headDimV: number;
  /** Rows that a sequence has for a kv head. */
  readonly nRows: number;
  readonly paged: boolean;
}

/**
 * The tile for a device, a head size and a number of rows.
 *
 * @throws PageflashError `limit` if none fits
 */
export function decodeTile(traits: DeviceTraits, args: DecodeTileArgs, caller = 'pageflash'): DecodeTile {
  return fittingTile(traits, candidates(traits, args), needsOf(args), { caller, headDim: args.headDim });
}

/** The tiles that are worth measuring for a device, a head size and a number of rows, all of which it can run. */
export function decodeCandidates(traits: DeviceTraits, args: DecodeTileArgs): DecodeTile[] {
  const shapes = traits.deviceClass === 'software' ? softwareShapes(traits) : MEASURED_GPU_SHAPES;
  const tiles = halvings(args.nRows).flatMap((rows) =>
    shapes.map((shape) => arrange(traits, shape, { ...args, rows })),
  );
  return tiles.filter((tile) => fits(traits, needsOf(args)(tile)));
}

function needsOf({ paged }: DecodeTileArgs): (tile: DecodeTile) => TileNeeds {
  return (tile) => ({ invocations: tile.invocations, bytes: decodeWorkgroupBytes(tile, paged) });
}

/** Rows of a tile, most first. */
function halvings(nRows: number): number[] {
  const rows = Math.min(powerOfTwo(nRows), MAX_TILE_ROWS);
  return Array.from({ length: Math.log2(rows) + 1 }, (_, i) => rows / 2 ** i);
}

/** Returns the tiles to try, best first: more rows, then more invocations. */
function candidates(traits: DeviceTraits, { headDim, headDimV, nRows }: DecodeTileArgs): DecodeTile[] {
  const shapes = traits.deviceClass === 'software' ? softwareShapes(traits) : GPU_SHAPES;
  return halvings(nRows).flatMap((tileRows) =>
    shapes.map((shape) => arrange(traits, shape, { rows: tileRows, headDim, headDimV })),
  );
}

interface Shape {
  readonly invocations: number;
  readonly keyLanes: number;
}

/** Four neighbours read 64 contiguous bytes of a key, the least that memory delivers. */
const GPU_SHAPES: readonly Shape[] = [
  { invocations: 128, keyLanes: 4 },
  { invocations: 64, keyLanes: 4 },
];

/** More of a key or more keys at a time. */
const MEASURED_GPU_SHAPES: readonly Shape[] = [
  ...GPU_SHAPES,
  { invocations: 256, keyLanes: 4 },
  { invocations: 128, keyLanes: 2 },
  { invocations: 128, keyLanes: 8 },
];

/**
 * Returns the shapes for a CPU. There it is of no use that neighbours read neighbouring bytes: each lane has its own
 * keys.
 */
function softwareShapes(traits: DeviceTraits): readonly Shape[] {
  const lanes = fixedSubgroupSize(traits) || 4;
  return [4, 2, 1].map((subgroups) => ({ invocations: subgroups * lanes, keyLanes: 1 }));
}

interface Sizes {
  readonly rows: number;
  readonly headDim: number;
  readonly headDimV: number;
}

function arrange(
  traits: DeviceTraits,
  { invocations, keyLanes }: Shape,
  { rows, headDim, headDimV }: Sizes,
): DecodeTile {
  const keyQuads = decodeTileKeys({ invocations, keyLanes }) / 4;
  const valueOctets = Math.ceil(headDimV / 8);
  const isSoftware = traits.deviceClass === 'software';
  const broadcastLanes = isSoftware ? fixedSubgroupSize(traits) : 0;
  // Groups of invocations take keys in turn, four at a time, so there are at most as many groups as quads of keys.
  const valueLanes = Math.min(
    invocations,
    Math.max(powerOfTwo(valueOctets), invocations / keyQuads, broadcastLanes),
  );
  const rowLanes = Math.min(MAX_ROW_LANES, keyQuads, invocations / rows);
  const { subgroupMinSize } = traits;
  const subgroups = subgroupMinSize >= Math.max(keyLanes, MIN_ROW_LANES);
  return {
    invocations,
    rows,
    keyLanes,
    // Head sizes share pipelines by multiples of 32; the elements beyond are zeros.
    headOctets: Math.ceil(headDim / 32) * 4,
    rowLanes: subgroups ? Math.min(rowLanes, subgroupMinSize) : rowLanes,
    valueLanes,
    cols: Math.ceil(valueOctets / valueLanes),
    subgroups,
    broadcastLanes,
    rolled: isSoftware,
  };
}

/** Lanes that find the maximum of a row: more lanes have less work each, but exchange more. */
const MAX_ROW_LANES = 16;
const MIN_ROW_LANES = 4;

/** The smallest power of two ≥ n. */
function powerOfTwo(n: number): number {
  return 2 ** Math.ceil(Math.log2(n));
}
