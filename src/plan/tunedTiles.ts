import type { DeviceTraits } from '../core/deviceTraits.js';
import { fail } from '../core/errors.js';
import { isSameMatrix } from '../core/matrixConfigurations.js';
import type { TileShape, TunedDecode, TunedPrefill, Tuning } from '../core/tuning.js';
import type { DecodeTile } from '../kernels/attnDecode.js';
import type { MatrixTile } from '../kernels/attnMatrix.js';
import type { PrefillTile } from '../kernels/attnPrefill.js';
import { decodeCandidates, decodeRegisters, decodeTile, type DecodeTileArgs } from './decodeTile.js';
import { deviceDefaults } from './deviceDefaults.js';
import { matrixDecodeCandidates, matrixPrefillCandidates, type MatrixTileArgs } from './matrixTile.js';
import { prefillCandidates, prefillRegisters, prefillTile, type PrefillTileArgs } from './prefillTile.js';

// A tuning names a tile by the numbers that tell it from the other candidates, so that it stays the tile that the planner
// arranges, whatever else belongs to it.

export const PREFILL_SHAPE = [
  'teams',
  'lanes',
  'rows',
  'keyQuads',
] as const satisfies readonly (keyof PrefillTile)[];
export const DECODE_SHAPE = [
  'invocations',
  'rows',
  'keyLanes',
  'prefetch',
] as const satisfies readonly (keyof DecodeTile)[];
export const MATRIX_PREFILL_SHAPE = [
  'strips',
  'parts',
  'rowBlocks',
  'keys',
] as const satisfies readonly (keyof MatrixTile)[];
/** A step has as many strips as its rows take. */
export const MATRIX_DECODE_SHAPE = [
  'parts',
  'rowBlocks',
  'keys',
] as const satisfies readonly (keyof MatrixTile)[];

/** What a tuning says of a tile. */
export function shapeOf<Tile>(tile: Tile, names: readonly (keyof Tile & string)[]): TileShape {
  return Object.fromEntries(names.map((name) => [name, tile[name] as number]));
}

/** Rows for which a tile is tuned: a power of two. */
export function tunedRows(nRows: number): number {
  return 2 ** Math.ceil(Math.log2(nRows));
}

/** What decides about the tile of a step: of attn_decode, or of attn_matrix where that takes it. */
export type DecodeArgs = DecodeTileArgs & MatrixTileArgs;

/**
 * The tile for sequences that decode: as it was tuned, or else as the tables say, with less in registers where a device has
 * few. attn_matrix takes them only where it has proven to be faster: on an H100 it took 1.3 times as long.
 *
 * @throws PageflashError `limit` if none fits; `argument` if the tuning has one that there is not
 */
export function chooseDecodeTile(
  traits: DeviceTraits,
  args: DecodeArgs,
  caller: string,
): { readonly decode: DecodeTile } | { readonly matrix: MatrixTile } {
  const { tuning } = traits;
  const matrices = matrixDecodeCandidates(traits, args);
  const entry = tuning?.decode.find((each) => isDecodeEntryFor(args, each));
  if (!tuning || !entry || isForOtherMatrices(entry, tuning, traits, matrices))
    return { decode: decodeWithinRegisters(traits, args, caller) };
  return remembered(tuning, `decode ${traits.tier} ${keyOf(args)} ${args.nRows}`, () => {
    if (!isMatrixEntry(entry)) return { decode: candidateOf(entry, decodeCandidates(traits, args), caller) };
    // One that there is not is refused, one that takes too much room here gives way.
    candidateOf(entry, matrixDecodeCandidates(traits, asTuned(args)), caller);
    const matrix = matrices.find(isNamedIn(entry));
    return matrix ? { matrix } : { decode: decodeWithinRegisters(traits, args, caller) };
  });
}

/**
 * The tile for sequences with many rows: as it was tuned, or else one of attn_matrix where the device has matrices, or as
 * the tables say, with few sums in registers where a device has few.
 *
 * @throws PageflashError `limit` if none fits; `argument` if the tuning has one that there is not
 */
export function choosePrefillTile(
  traits: DeviceTraits,
  args: PrefillTileArgs & MatrixTileArgs,
  caller: string,
): { readonly prefill: PrefillTile } | { readonly matrix: MatrixTile } {
  const { tuning } = traits;
  const matrices = matrixPrefillCandidates(traits, args);
  const entry = tuning?.prefill.find((each) => isPrefillEntryFor(args, each));
  if (!tuning || !entry || isForOtherMatrices(entry, tuning, traits, matrices)) {
    const [matrix] = matrices;
    return matrix ? { matrix } : { prefill: prefillWithinRegisters(traits, args, caller) };
  }
  return remembered(tuning, `prefill ${traits.tier} ${keyOf(args)}`, () => {
    if (!isMatrixEntry(entry))
      return { prefill: candidateOf(entry, prefillCandidates(traits, args), caller) };
    // Likewise.
    candidateOf(entry, matrixPrefillCandidates(traits, asTuned(args)), caller);
    return { matrix: matrices.find(isNamedIn(entry)) ?? matrices[0]! };
  });
}

/** What `tune` runs: no lse is asked for, and heads are not turned. Either may take more room, so that a tile does not fit. */
function asTuned<Args extends MatrixTileArgs>(args: Args): Args {
  return { ...args, qDType: args.turnedDType ?? args.qDType, turnedDType: undefined, lse: false };
}

/** Whether a tile is the one that an entry names. */
function isNamedIn<Tile>({ tile }: TunedDecode | TunedPrefill): (candidate: Tile) => boolean {
  const names = Object.keys(tile) as (keyof Tile & string)[];
  return (candidate) => names.every((name) => candidate[name] === tile[name]);
}

/** Whether a tuned tile is one of attn_matrix. */
export function isMatrixEntry({ tile }: TunedDecode | TunedPrefill): boolean {
  return MATRIX_DECODE_SHAPE.every((name) => name in tile);
}

/**
 * Whether a tuned tile is one of attn_matrix which does not count here: the runtime uses no matrices or others than those
 * that were tuned, or the problem is none for them, as it has other types or fewer rows than the one that was tuned.
 */
function isForOtherMatrices(
  entry: TunedDecode | TunedPrefill,
  tuning: Tuning,
  { matrices }: DeviceTraits,
  candidates: readonly MatrixTile[],
): boolean {
  if (!isMatrixEntry(entry)) return false;
  const areSame = matrices !== null && tuning.matrices !== null && isSameMatrix(matrices, tuning.matrices);
  return !areSame || candidates.length === 0;
}

/** Whether a tuned tile of attn_decode is that of a problem. */
export function isDecodeEntryFor(args: DecodeTileArgs, entry: TunedDecode): boolean {
  return haveSameSizes(entry, args) && entry.kvDType === args.kvDType && entry.rows === tunedRows(args.nRows);
}

/** Whether a tuned tile of attn_prefill is that of a problem. Queries that are turned are f32, but not the caller's. */
export function isPrefillEntryFor(
  args: PrefillTileArgs & Pick<MatrixTileArgs, 'turnedDType'>,
  entry: TunedPrefill,
): boolean {
  return (
    haveSameSizes(entry, args) &&
    args.turnedDType === undefined &&
    entry.dtype === args.qDType &&
    entry.kvDType === args.kvDType
  );
}

interface Sizes {
  readonly headDim: number;
  readonly headDimV: number;
}

/** Head sizes share pipelines by multiples of 32, and so tiles. */
function haveSameSizes(a: Sizes, b: Sizes): boolean {
  return (
    Math.ceil(a.headDim / 32) === Math.ceil(b.headDim / 32) &&
    Math.ceil(a.headDimV / 32) === Math.ceil(b.headDimV / 32)
  );
}

function keyOf({ headDim, headDimV, qDType, turnedDType, kvDType, paged, lse }: MatrixTileArgs): string {
  return `${headDim} ${headDimV} ${qDType} ${turnedDType} ${kvDType} ${paged} ${lse}`;
}

function candidateOf<Tile>(
  entry: TunedDecode | TunedPrefill,
  candidates: readonly Tile[],
  caller: string,
): Tile {
  const found = candidates.find(isNamedIn(entry));
  if (found) return found;
  fail(
    'argument',
    caller,
    `the tuning that createRuntime was given has a tile for headDim ${entry.headDim} which this version of pageflash does not have, or does not fit the device with pages. Tune again, or leave tuning out.`,
  );
}

/** Tiles that were found, since every plan asks for them. */
const found = new WeakMap<Tuning, Map<string, unknown>>();

function remembered<Tile>(tuning: Tuning, key: string, find: () => Tile): Tile {
  let tiles = found.get(tuning);
  if (!tiles) found.set(tuning, (tiles = new Map()));
  const known = tiles.get(key) as Tile | undefined;
  if (known) return known;
  const tile = find();
  tiles.set(key, tile);
  return tile;
}

/**
 * The table's tile of attn_decode, unless it needs more registers than the device has: then one of as many rows as will
 * do, since fewer mean that keys are read again, and that loads ahead as much as will do.
 */
function decodeWithinRegisters(traits: DeviceTraits, args: DecodeTileArgs, caller: string): DecodeTile {
  const tile = decodeTile(traits, args, caller);
  const { registers } = deviceDefaults(traits);
  const needs = (each: DecodeTile): number => decodeRegisters(each, args);
  if (needs(tile) <= registers) return tile;
  const others = decodeCandidates(traits, args).toSorted((a, b) => b.rows - a.rows || needs(b) - needs(a));
  return others.find((each) => needs(each) <= registers) ?? others.at(-1)!;
}

/**
 * The table's tile of attn_prefill, unless it needs more registers than the device has: then the candidate that needs the
 * most it has.
 */
function prefillWithinRegisters(traits: DeviceTraits, args: PrefillTileArgs, caller: string): PrefillTile {
  const tile = prefillTile(traits, args, caller);
  const { registers } = deviceDefaults(traits);
  if (prefillRegisters(tile) <= registers) return tile;
  const smaller = [tile, ...prefillCandidates(traits, args)].toSorted(
    (a, b) => prefillRegisters(a) - prefillRegisters(b),
  );
  return smaller.findLast((candidate) => prefillRegisters(candidate) <= registers) ?? smaller[0]!;
}
