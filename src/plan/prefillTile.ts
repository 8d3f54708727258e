import type { DeviceTraits } from '../core/deviceTraits.js';
import type { FloatDType, KvDType } from '../core/dtype.js';
import { prefillTileKeys, prefillWorkgroupBytes, type PrefillTile } from '../kernels/attnPrefill.js';
import { MAX_HEAD_DIM } from '../problem/attentionProblem.js';
import { fits, fittingTile, fixedSubgroupSize, type TileNeeds } from './fittingTile.js';

/** How a workgroup's invocations are arranged; tells a tile from others for the same device and head sizes. */
type Shape = Pick<PrefillTile, 'teams' | 'lanes' | 'rows' | 'keyQuads'>;

/** Shapes of a tile for head sizes up to `headDim`, best first; the first that fits a device is taken. */
interface ShapesRow {
  readonly headDim: number;
  readonly shapes: readonly Shape[];
}

/**
 * An invocation keeps rows · (4 keyQuads + 4 cols) scores and sums in registers, and multiplies rows · 4 keyQuads scores,
 * or rows · 4 sums, for each quad of rows and of keys or values that it loads: with eight rows and eight keys 16
 * multiply-adds a load, of which a GPU's workgroup memory serves enough. 128 of them and what is multiplied fit the some
 * 250 registers of an invocation on desktop GPUs. Smaller workgroups are for devices of small limits.
 */
const GPU_SHAPES: readonly ShapesRow[] = [
  {
    headDim: 128,
    shapes: [
      { teams: 16, lanes: 16, rows: 8, keyQuads: 2 },
      { teams: 8, lanes: 16, rows: 8, keyQuads: 2 },
      { teams: 4, lanes: 16, rows: 8, keyQuads: 1 },
    ],
  },
  {
    headDim: 256,
    shapes: [
      { teams: 16, lanes: 16, rows: 4, keyQuads: 2 },
      { teams: 8, lanes: 16, rows: 4, keyQuads: 2 },
      { teams: 4, lanes: 16, rows: 4, keyQuads: 1 },
    ],
  },
  {
    // Twice as many lanes for a row, so that a value of 512 is four quads of each: any device has room for 32 rows.
    headDim: MAX_HEAD_DIM,
    shapes: [
      { teams: 8, lanes: 32, rows: 8, keyQuads: 1 },
      { teams: 8, lanes: 32, rows: 4, keyQuads: 1 },
      { teams: 4, lanes: 32, rows: 4, keyQuads: 1 },
    ],
  },
];

/** Those above, with more of one and less of another, down to few registers. */
const MEASURED_GPU_SHAPES: readonly Shape[] = [
  { teams: 16, lanes: 16, rows: 8, keyQuads: 2 },
  { teams: 8, lanes: 16, rows: 8, keyQuads: 2 },
  { teams: 16, lanes: 16, rows: 8, keyQuads: 1 },
  { teams: 16, lanes: 16, rows: 4, keyQuads: 2 },
  { teams: 8, lanes: 16, rows: 4, keyQuads: 2 },
  { teams: 16, lanes: 16, rows: 4, keyQuads: 1 },
  { teams: 32, lanes: 8, rows: 8, keyQuads: 2 },
  { teams: 32, lanes: 8, rows: 4, keyQuads: 2 },
  { teams: 16, lanes: 8, rows: 4, keyQuads: 1 },
  { teams: 8, lanes: 32, rows: 8, keyQuads: 2 },
  { teams: 8, lanes: 32, rows: 8, keyQuads: 1 },
  { teams: 8, lanes: 32, rows: 4, keyQuads: 1 },
  { teams: 4, lanes: 64, rows: 4, keyQuads: 1 },
];

/**
 * With more scores and sums than this in an invocation, they are spilled to memory: with as many, the compiler for RDNA3 needs
 * 252 of 256 registers.
 */
const MAX_REGISTERS = 160;

/**
 * A CPU runs the lanes of a subgroup as one vector and pays most for each load of a lane from workgroup memory. Where
 * a team is a subgroup, lanes load each row once among them, so rows are cheap.
 */
function softwareShapes(traits: DeviceTraits): readonly ShapesRow[] {
  const lanes = fixedSubgroupSize(traits);
  if (lanes !== 4 && lanes !== 8) {
    const shapes = [
      { teams: 8, lanes: 4, rows: 4, keyQuads: 1 },
      { teams: 4, lanes: 4, rows: 4, keyQuads: 1 },
    ];
    // With so many sums, half of them take a compiler a third of the time.
    const large = [4, 2].map((teams) => ({ teams, lanes: 8, rows: 4, keyQuads: 1 }));
    return [
      { headDim: 256, shapes },
      { headDim: MAX_HEAD_DIM, shapes: large },
    ];
  }
  // Eight keys for each of few lanes, so that a tile is as wide as with more of them.
  const keyQuads = lanes === 4 ? 2 : 1;
  const wide = { teams: 4, lanes, rows: 16, keyQuads };
  const narrow = { teams: 2, lanes, rows: 16, keyQuads };
  return [
    { headDim: 64, shapes: [wide, narrow] },
    { headDim: 256, shapes: [narrow, { teams: 2, lanes, rows: 8, keyQuads: 1 }] },
    { headDim: MAX_HEAD_DIM, shapes: [{ teams: 2, lanes, rows: lanes, keyQuads: 1 }] },
  ];
}

export interface PrefillTileArgs {
  readonly headDim: number;
  readonly headDimV: number;
  readonly qDType: FloatDType;
  readonly kvDType: KvDType;
  readonly paged: boolean;
}

/**
 * The tile for a device and a head size.
 *
 * @throws PageflashError `limit` if none fits
 */
export function prefillTile(traits: DeviceTraits, args: PrefillTileArgs, caller = 'pageflash'): PrefillTile {
  const tiles = shapesFor(traits, args).flatMap((shape) => arrangements(traits, args, shape));
  return fittingTile(traits, tiles, needsOf(args), { caller, headDim: args.headDim });
}

/** The tiles that are worth measuring for a device, head sizes and types, all of which it can run. */
export function prefillCandidates(traits: DeviceTraits, args: PrefillTileArgs): PrefillTile[] {
  if (traits.deviceClass === 'software')
    return shapesFor(traits, args).flatMap((shape) => fittingArrangement(traits, args, shape));
  // More lanes than quads of a value would have none to add up.
  const maxLanes = Math.max(16, args.headDimV / 4);
  return MEASURED_GPU_SHAPES.filter(({ lanes }) => lanes <= maxLanes)
    .flatMap((shape) => fittingArrangement(traits, args, shape))
    .filter((tile) => prefillRegisters(tile) <= MAX_REGISTERS);
}

/** The best tile of a shape that the device can run, if there is one. */
function fittingArrangement(traits: DeviceTraits, args: PrefillTileArgs, shape: Shape): PrefillTile[] {
  const needs = needsOf(args);
  return arrangements(traits, args, shape)
    .filter((tile) => fits(traits, needs(tile)))
    .slice(0, 1);
}

/** The scores and sums that an invocation keeps in registers. */
export function prefillRegisters({ rows, keyQuads, cols }: PrefillTile): number {
  return rows * 4 * (keyQuads + cols);
}

function needsOf(args: PrefillTileArgs): (tile: PrefillTile) => TileNeeds {
  return (tile) => ({ invocations: tile.teams * tile.lanes, bytes: prefillWorkgroupBytes(tile, args) });
}

function shapesFor(traits: DeviceTraits, { headDim, headDimV }: PrefillTileArgs): readonly Shape[] {
  const table = traits.deviceClass === 'software' ? softwareShapes(traits) : GPU_SHAPES;
  return table.find((entry) => Math.max(headDim, headDimV) <= entry.headDim)!.shapes;
}

/** The tiles of a shape, which differ in what they stage at a time; best first. */
function arrangements(traits: DeviceTraits, args: PrefillTileArgs, shape: Shape): PrefillTile[] {
  const { headDim, headDimV, qDType, kvDType } = args;
  const isSoftware = traits.deviceClass === 'software';
  const subgroups = traits.subgroupMinSize >= shape.lanes;
  // f16 has neither the range of bf16 nor the precision of f32. On GPUs, converting what is loaded from workgroup memory
  // costs more than loading twice as many bytes of it.
  const isF16 = qDType === 'f16' && kvDType === 'f16';
  // Head sizes share pipelines by multiples of 32; the elements beyond are zeros.
  const headQuads = Math.ceil(headDim / 32) * 8;
  const cols = Math.ceil((Math.ceil(headDimV / 32) * 8) / shape.lanes);
  return stagings(headQuads, isSoftware, shape.lanes).map(({ qResident, sliceQuads }) => ({
    ...shape,
    cols,
    headQuads,
    sliceQuads,
    valueKeys: valueKeys(shape, cols, sliceQuads),
    qResident,
    subgroups,
    broadcast: isSoftware && fixedSubgroupSize(traits) === shape.lanes,
    f16Tiles: isSoftware && subgroups && traits.shaderF16 && isF16,
    rolled: isSoftware,
  }));
}

/**
 * Returns how much of a head to stage at a time, best first. Software: all queries at once and keys in up to four slices
 * of dims, or else both in slices as large as memory allows. GPUs: both in small slices, which leave room for rows, and
 * where as many lanes have as many keys in smaller ones.
 */
function stagings(
  headQuads: number,
  isSoftware: boolean,
  lanes: number,
): Pick<PrefillTile, 'qResident' | 'sliceQuads'>[] {
  if (!isSoftware)
    return (lanes >= 64 ? [8, 4, 2] : [8, 4]).map((sliceQuads) => ({ qResident: false, sliceQuads }));
  const slices: number[] = [];
  for (let sliceQuads = headQuads; sliceQuads >= MIN_SLICE_QUADS; sliceQuads -= 2)
    if (headQuads % sliceQuads === 0) slices.push(sliceQuads);
  return [
    ...slices
      .filter((sliceQuads) => 4 * sliceQuads >= headQuads)
      .map((sliceQuads) => ({ qResident: true, sliceQuads })),
    ...slices.map((sliceQuads) => ({ qResident: false, sliceQuads })),
  ];
}

/** With fewer, barriers would cost more than the work between them. */
const MIN_SLICE_QUADS = 4;

/** As many values as fit into the room of the staged keys, and their weights into that of queries, but at least a lane's. */
function valueKeys(shape: Shape, cols: number, sliceQuads: number): number {
  const room = sliceQuads * (prefillTileKeys(shape) + 1);
  let keys = prefillTileKeys(shape);
  while (keys > 4 * shape.keyQuads && (keys * cols * shape.lanes > room || keys > 4 * sliceQuads)) keys /= 2;
  return keys;
}
