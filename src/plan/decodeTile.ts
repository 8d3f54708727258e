import type { DeviceTraits } from '../core/deviceTraits.js';
import { bytesPerElement, type KvDType } from '../core/dtype.js';
import {
  decodeTileKeys,
  decodeValueSteps,
  decodeWorkgroupBytes,
  type DecodeTile,
} from '../kernels/attnDecode.js';
import { fits, fittingTile, fixedSubgroupSize, type TileNeeds } from './fittingTile.js';

/** The most rows that a workgroup of attn_decode takes: each needs registers for its whole output. */
const MAX_TILE_ROWS = 8;

export interface DecodeTileArgs {
  readonly headDim: number;
  readonly headDimV: number;
  readonly kvDType: KvDType;
  /** Rows that a sequence has for a kv head. */
  readonly nRows: number;
  readonly paged: boolean;
}

/** What decides about a tile, given a device and a head size. */
type DecodeShape = Pick<DecodeTile, 'invocations' | 'rows' | 'keyLanes' | 'prefetch'>;

/**
 * The tile for a device, a head size and a number of rows.
 *
 * @throws PageflashError `limit` if none fits
 */
export function decodeTile(traits: DeviceTraits, args: DecodeTileArgs, caller = 'pageflash'): DecodeTile {
  const shapes = traits.deviceClass === 'software' ? softwareShapes(traits, args) : gpuShapes(args);
  const tiles = shapes.map((shape) => arrange(traits, shape, args));
  return fittingTile(traits, tiles, (tile) => needsOf(tile, args), { caller, headDim: args.headDim });
}

/** The tiles that are worth measuring and that a device can run, that of `decodeTile` first. */
export function decodeCandidates(traits: DeviceTraits, args: DecodeTileArgs): DecodeTile[] {
  const chosen = decodeTile(traits, args);
  const isSoftware = traits.deviceClass === 'software';
  const tiles = (isSoftware ? softwareShapes(traits, args) : measuredShapes(args))
    .map((shape) => arrange(traits, shape, args))
    .filter((tile) => fits(traits, needsOf(tile, args)));
  return [chosen, ...tiles.filter((tile) => !sameShape(tile, chosen))];
}

function needsOf(tile: DecodeTile, args: DecodeTileArgs): TileNeeds {
  return { invocations: tile.invocations, bytes: decodeWorkgroupBytes(tile, args) };
}

function sameShape(a: DecodeShape, b: DecodeShape): boolean {
  return (
    a.invocations === b.invocations &&
    a.rows === b.rows &&
    a.keyLanes === b.keyLanes &&
    a.prefetch === b.prefetch
  );
}

/** Shapes for a GPU: more or less of a key, of keys and of rows at a time; for the usual size also without loading ahead. */
function measuredShapes(args: DecodeTileArgs): DecodeShape[] {
  return [128, 64, 256].flatMap((invocations) =>
    rowCounts(args)
      .slice(0, 2)
      .flatMap((rows) =>
        [4, 8, 16]
          .filter((keyLanes) => keyLanes >= rows)
          .flatMap((keyLanes) => {
            const shape = { invocations, rows, keyLanes };
            const ahead = { ...shape, prefetch: true };
            const plain = { ...shape, prefetch: false };
            if (!canPrefetch(ahead, args, MOST_REGISTERS_AHEAD)) return [plain];
            return invocations === 128 ? [ahead, plain] : [ahead];
          }),
      ),
  );
}

/** Four neighbours read 64 contiguous bytes of a key, the least that memory delivers. */
const KEY_LANES = [4, 8, 16, 32];

/** Numbers of rows for a tile, most first: fewer where workgroup memory is small. */
function rowCounts({ nRows }: DecodeTileArgs): number[] {
  const rows = Math.min(powerOfTwo(nRows), MAX_TILE_ROWS);
  return Array.from({ length: Math.log2(rows) + 1 }, (_, i) => rows / 2 ** i);
}

/** Returns the shapes to try on a GPU, best first: more rows, then more invocations. */
function gpuShapes(args: DecodeTileArgs): DecodeShape[] {
  return rowCounts(args).flatMap((rows) =>
    [128, 64].map((invocations) => {
      const shapes = KEY_LANES.filter((keyLanes) => keyLanes >= rows).map((keyLanes) => ({
        invocations,
        rows,
        keyLanes,
        prefetch: true,
      }));
      // The fewest lanes have the most keys in flight for each barrier.
      return shapes.find((shape) => canPrefetch(shape, args, REGISTERS_AHEAD)) ?? withoutAhead(shapes, args);
    }),
  );
}

/** Of shapes that differ in lanes, the one that multiplies the fewest zeros behind a head; of equals that with most lanes. */
function withoutAhead(shapes: readonly DecodeShape[], args: DecodeTileArgs): DecodeShape {
  const octets = (shape: DecodeShape): number => lanesOf(shape, args, 0).headOctets;
  const best = shapes.reduceRight((least, shape) => (octets(shape) < octets(least) ? shape : least));
  return { ...best, prefetch: false };
}

/**
 * Registers for the keys loaded ahead, and as many for values: eight loads of 16 bytes each hide what memory takes, with
 * some waves beside; a tile chosen by measurement may have more.
 */
const REGISTERS_AHEAD = 32;
const MOST_REGISTERS_AHEAD = 64;

/** Whether each invocation has registers enough for its share of a tile's keys and values. */
function canPrefetch(shape: DecodeShape, args: DecodeTileArgs, registers: number): boolean {
  return (
    decodeTileKeys(shape) <= shape.invocations &&
    registersAhead({ ...shape, ...lanesOf(shape, args, 0) }, args) <= registers
  );
}

/** Registers for the keys that an invocation loads ahead, or for the values, if these are more. */
function registersAhead(
  tile: Pick<DecodeTile, 'invocations' | 'keyLanes' | 'headOctets' | 'valueLanes' | 'cols'>,
  { kvDType }: Pick<DecodeTileArgs, 'kvDType'>,
): number {
  const quads = Math.max(tile.headOctets / tile.keyLanes, decodeValueSteps(tile) * tile.cols);
  const octetWords = (8 * bytesPerElement(kvDType)) / 4;
  return 4 * quads * octetWords;
}

/** The sums that an invocation keeps in registers, and what it loads ahead. */
export function decodeRegisters(tile: DecodeTile, args: DecodeTileArgs): number {
  return 8 * tile.rows * tile.cols + (tile.prefetch ? 2 * registersAhead(tile, args) : 0);
}

/**
 * Returns the shapes for a CPU, best first. There it is of no use that neighbours read neighbouring bytes, or that
 * anything is loaded ahead: each lane has its own keys.
 */
function softwareShapes(traits: DeviceTraits, args: DecodeTileArgs): DecodeShape[] {
  const lanes = fixedSubgroupSize(traits) || 4;
  return rowCounts(args).flatMap((rows) =>
    [4, 2, 1].map((subgroups) => ({ invocations: subgroups * lanes, rows, keyLanes: 1, prefetch: false })),
  );
}

function arrange(traits: DeviceTraits, shape: DecodeShape, args: DecodeTileArgs): DecodeTile {
  const { invocations, rows, keyLanes, prefetch } = shape;
  const isSoftware = traits.deviceClass === 'software';
  const { subgroupMinSize } = traits;
  const subgroups = subgroupMinSize >= Math.max(keyLanes, MIN_SUBGROUP);
  const broadcastLanes = isSoftware ? fixedSubgroupSize(traits) : 0;
  const keyQuads = decodeTileKeys(shape) / 4;
  const tile: DecodeTile = {
    invocations,
    rows,
    keyLanes,
    quadLanes: subgroups ? Math.min(subgroupMinSize / keyLanes, keyQuads) : 1,
    ...lanesOf(shape, args, broadcastLanes),
    turnRows: rows,
    prefetch,
    subgroups,
    broadcastLanes,
    rolled: isSoftware,
  };
  return withTurns(tile, args, Math.min(MAX_BYTES, traits.maxWorkgroupBytes));
}

/** How invocations share heads. */
function lanesOf(
  shape: DecodeShape,
  { headDim, headDimV }: DecodeTileArgs,
  broadcastLanes: number,
): Pick<DecodeTile, 'headOctets' | 'valueLanes' | 'cols'> {
  const { invocations, keyLanes } = shape;
  const keyQuads = decodeTileKeys(shape) / 4;
  const valueOctets = Math.ceil(headDimV / 8);
  // Groups of invocations take keys in turn, four at a time, so there are at most as many groups as quads of keys.
  const valueLanes = Math.min(
    invocations,
    Math.max(powerOfTwo(valueOctets), invocations / keyQuads, broadcastLanes),
  );
  // Head sizes share pipelines by multiples of 32; the elements beyond are zeros.
  const headOctets = Math.ceil((Math.ceil(headDim / 32) * 4) / keyLanes) * keyLanes;
  return { headOctets, valueLanes, cols: Math.ceil(valueOctets / valueLanes) };
}

/** Below this size subgroups save less than their operations cost. */
const MIN_SUBGROUP = 4;

/** Bytes of workgroup memory beyond which writing more rows at a time would cost waves. */
const MAX_BYTES = 14336;

/** A tile with as many rows written at a time as its workgroup memory has room for. */
function withTurns(tile: DecodeTile, args: DecodeTileArgs, maxBytes: number): DecodeTile {
  if (tile.turnRows === 1 || decodeWorkgroupBytes(tile, args) <= maxBytes) return tile;
  return withTurns({ ...tile, turnRows: tile.turnRows / 2 }, args, maxBytes);
}

/** The smallest power of two ≥ n. */
function powerOfTwo(n: number): number {
  return 2 ** Math.ceil(Math.log2(n));
}
