import type { DeviceTraits, MatrixConfiguration } from '../core/deviceTraits.js';
import type { FloatDType, KvDType } from '../core/dtype.js';
import {
  matrixInvocations,
  matrixRowLanes,
  matrixWorkgroupBytes,
  splitOperands,
  type MatrixTile,
} from '../kernels/attnMatrix.js';
import { fits } from './fittingTile.js';

export interface MatrixTileArgs {
  readonly headDim: number;
  readonly headDimV: number;
  /** As attention reads q: f32 where heads are turned. */
  readonly qDType: FloatDType;
  /** The caller's type of q where heads are turned. */
  readonly turnedDType?: FloatDType | undefined;
  readonly kvDType: KvDType;
  readonly paged: boolean;
  /** Whether the lse is asked for. Default false. */
  readonly lse?: boolean;
}

/** How subgroups share a tile: rows and keys of it, subgroups of a strip, matrices of rows that a strip has. */
interface Shape {
  readonly rows: number;
  readonly keys: number;
  readonly parts: number;
  readonly rowBlocks: number;
}

/** Shapes for head sizes up to `headDim`, best first; the first that fits a device is taken. */
interface ShapesRow {
  readonly headDim: number;
  readonly shapes: readonly Shape[];
}

/**
 * Rows divide the bytes of keys and values that are read and staged, matrices of rows in a strip those that are loaded from
 * workgroup memory for the products, and so do parts. On an H100 these were the fastest of some fifty; the bench notes
 * have the others. Smaller ones are for devices of small limits, and for operands of f32.
 */
const PREFILL_SHAPES: readonly ShapesRow[] = [
  {
    headDim: 64,
    shapes: [
      { rows: 64, keys: 32, parts: 2, rowBlocks: 2 },
      { rows: 64, keys: 32, parts: 1, rowBlocks: 1 },
      { rows: 32, keys: 32, parts: 1, rowBlocks: 1 },
    ],
  },
  {
    headDim: 128,
    shapes: [
      { rows: 128, keys: 32, parts: 2, rowBlocks: 2 },
      { rows: 128, keys: 32, parts: 1, rowBlocks: 1 },
      { rows: 64, keys: 32, parts: 2, rowBlocks: 2 },
      { rows: 64, keys: 32, parts: 2, rowBlocks: 1 },
      { rows: 64, keys: 32, parts: 1, rowBlocks: 1 },
      { rows: 32, keys: 32, parts: 1, rowBlocks: 1 },
    ],
  },
  {
    headDim: 256,
    shapes: [{ rows: 64, keys: 32, parts: 2, rowBlocks: 1 }],
  },
];

/** A CPU gains nothing by rows and keys; the fewer matrices a subgroup has, the sooner its kernel is compiled. */
const SOFTWARE_SHAPES: readonly Shape[] = [
  { rows: 32, keys: 32, parts: 4, rowBlocks: 1 },
  { rows: 32, keys: 32, parts: 2, rowBlocks: 1 },
];

/**
 * Whatever the head: the last resort of devices with little workgroup memory. The fewer keys a tile has, the fewer lanes can
 * share a row of it, so that subgroups must have more rows.
 */
const SMALL_SHAPES: readonly Shape[] = [
  { rows: 32, keys: 16, parts: 1, rowBlocks: 1 },
  { rows: 32, keys: 16, parts: 1, rowBlocks: 2 },
  { rows: 32, keys: 8, parts: 1, rowBlocks: 4 },
  { rows: 16, keys: 16, parts: 1, rowBlocks: 1 },
];

/**
 * For few rows: one or two strips, whose subgroups share keys and dims. What counts is how many bytes of keys and values
 * are on their way at a time.
 */
const DECODE_SHAPES: readonly Omit<Shape, 'rows'>[] = [
  { keys: 64, parts: 4, rowBlocks: 1 },
  { keys: 64, parts: 2, rowBlocks: 1 },
  { keys: 32, parts: 2, rowBlocks: 1 },
  { keys: 32, parts: 1, rowBlocks: 1 },
  { keys: 16, parts: 1, rowBlocks: 1 },
];

/**
 * Words of matrices and of loads ahead that an invocation of an AMD GPU may have in registers: of tiles of 168 and more, the
 * compiler for RDNA3 spilled some to memory, and of none up to 136.
 */
const AMD_REGISTERS = 144;

/**
 * Of larger heads, 16 rows of queries and sums fill the registers of a subgroup of 32 (512 dims: 64 words an invocation for
 * queries and 256 for sums), and 16 keys with their values the workgroup memory. attn_prefill takes those.
 */
const MAX_MATRIX_DIM = 256;

/** Fewer rows leave most of a matrix empty. */
const MIN_DECODE_ROWS = 4;

/** The tiles that are worth measuring for prompts, best first, all of which the device can run; none without matrices. */
export function matrixPrefillCandidates(traits: DeviceTraits, args: MatrixTileArgs): MatrixTile[] {
  const { headDim, headDimV } = args;
  if (traits.deviceClass === 'software')
    return candidates(traits, args, [...SOFTWARE_SHAPES, ...SMALL_SHAPES]);
  const row = PREFILL_SHAPES.find((entry) => Math.max(headDim, headDimV) <= entry.headDim);
  return candidates(traits, args, [...(row?.shapes ?? []), ...SMALL_SHAPES]);
}

/** The same for steps of `nRows` rows. */
export function matrixDecodeCandidates(
  traits: DeviceTraits,
  args: MatrixTileArgs & { readonly nRows: number },
): MatrixTile[] {
  if (args.nRows < MIN_DECODE_ROWS || !traits.matrices) return [];
  const { M } = traits.matrices;
  const rows = Math.ceil(args.nRows / M) * M;
  return candidates(
    traits,
    args,
    DECODE_SHAPES.map((shape) => ({ ...shape, rows })),
  );
}

function candidates(traits: DeviceTraits, args: MatrixTileArgs, shapes: readonly Shape[]): MatrixTile[] {
  const { matrices } = traits;
  if (!matrices || !keepsPrecision(matrices, args)) return [];
  return shapes.flatMap((shape) => {
    const tile = tileOf(traits, matrices, args, shape);
    return tile && isRunnable(traits, tile, args) ? [tile] : [];
  });
}

/**
 * Tiles of f16 hold what is stored in f16 or e4m3, codes of i8, and what is scaled: bf16, turned queries in two matrices where
 * one would lose what shows, and i4 likewise. What the caller has in f32 they do not.
 */
function keepsPrecision(
  { componentType }: MatrixConfiguration,
  { qDType, turnedDType = qDType, kvDType }: MatrixTileArgs,
): boolean {
  return componentType === 'f32' || (turnedDType !== 'f32' && kvDType !== 'f32');
}

/** The tile of a shape, if matrices fill it. */
function tileOf(
  traits: DeviceTraits,
  matrices: MatrixConfiguration,
  { headDim, headDimV }: MatrixTileArgs,
  { rows, keys, parts, rowBlocks }: Shape,
): MatrixTile | null {
  if (Math.max(headDim, headDimV) > MAX_MATRIX_DIM) return null;
  const { M, N, K } = matrices;
  const strips = rows / (M * rowBlocks);
  if (!Number.isInteger(strips) || keys % (N * parts) || keys % K || keys % M) return null;
  // Head sizes share pipelines by multiples of 32.
  const dims = multipleOf(Math.max(32, K), headDim);
  const dimsV = multipleOf(Math.max(32, N * parts), headDimV);
  return {
    matrices,
    ...subgroupsOf(traits),
    strips,
    parts,
    rowBlocks,
    keys,
    // CPUs have registers for few loads, and nothing to do meanwhile.
    ahead: traits.deviceClass === 'gpu',
    dims,
    dimsV,
    padded: dims !== headDim || dimsV !== headDimV,
  };
}

/** The size that subgroups have, or that the entry point demands, or else the most that they may have. */
function subgroupsOf(traits: DeviceTraits): Pick<MatrixTile, 'subgroup' | 'pinned' | 'varying'> {
  const { subgroupMinSize, subgroupMaxSize, subgroupSizeControl } = traits;
  if (subgroupMinSize === subgroupMaxSize)
    return { subgroup: subgroupMaxSize, pinned: false, varying: false };
  if (!subgroupSizeControl) return { subgroup: subgroupMaxSize, pinned: false, varying: true };
  const subgroup = Math.min(Math.max(32, subgroupMinSize), subgroupMaxSize);
  return { subgroup, pinned: true, varying: false };
}

/** Whether a device has room for a tile, and lanes that can share its rows. */
function isRunnable(traits: DeviceTraits, tile: MatrixTile, args: MatrixTileArgs): boolean {
  const rowLanes = matrixRowLanes(tile);
  const octets = tile.keys / 8;
  return (
    Number.isInteger(rowLanes) &&
    Number.isInteger(octets / rowLanes) &&
    rowLanes <= (tile.varying ? traits.subgroupMinSize : tile.subgroup) &&
    (traits.vendor !== 'amd' || amdRegisters(traits, tile, args) <= AMD_REGISTERS) &&
    fits(traits, { invocations: matrixInvocations(tile), bytes: matrixWorkgroupBytes(tile, args) })
  );
}

/** What an invocation has in registers while rows are weighed, in words. AMD GPUs hold what is multiplied twice. */
function amdRegisters({ subgroupMinSize }: DeviceTraits, tile: MatrixTile, args: MatrixTileArgs): number {
  const { matrices, subgroup, varying, parts, rowBlocks, keys, ahead, dims, dimsV } = tile;
  const { M, componentType } = matrices;
  const q = 2 * dims * (componentType === 'f16' && !splitOperands(matrices, args).q ? 0.5 : 1);
  const products = dimsV / parts + keys / parts;
  const loads = ahead ? (keys * (dims + dimsV)) / 2 / matrixInvocations(tile) : 0;
  return (rowBlocks * M * (q + products)) / (varying ? subgroupMinSize : subgroup) + loads;
}

function multipleOf(unit: number, size: number): number {
  return Math.ceil(size / unit) * unit;
}
