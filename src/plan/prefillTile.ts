import type { DeviceTraits } from '../core/deviceTraits.js';
import type { FloatDType } from '../core/dtype.js';
import { prefillTileKeys, prefillWorkgroupBytes, type PrefillTile } from '../kernels/attnPrefill.js';
import { fits, fittingTile, fixedSubgroupSize, type TileNeeds } from './fittingTile.js';

/** How a workgroup's invocations are arranged. */
type Shape = Pick<PrefillTile, 'teams' | 'lanes' | 'rows'>;

/**
 * Shapes of a tile for head sizes up to `headDim`, best first; the first that fits a device's workgroup memory is
 * taken. Registers grow with rows · (4 + headDim / lanes), memory with teams · rows · headDim.
 */
interface ShapesRow {
  readonly headDim: number;
  readonly shapes: readonly Shape[];
}

const GPU_SHAPES: readonly ShapesRow[] = [
  {
    headDim: 128,
    shapes: [
      { teams: 16, lanes: 8, rows: 4 },
      { teams: 8, lanes: 8, rows: 4 },
    ],
  },
  {
    headDim: 256,
    shapes: [
      { teams: 8, lanes: 16, rows: 4 },
      { teams: 4, lanes: 16, rows: 4 },
    ],
  },
];

/** Those above, with more invocations, more rows of each, and more lanes of a row. */
const MEASURED_GPU_SHAPES: readonly Shape[] = [
  { teams: 16, lanes: 8, rows: 4 },
  { teams: 8, lanes: 8, rows: 4 },
  { teams: 32, lanes: 8, rows: 4 },
  { teams: 16, lanes: 8, rows: 8 },
  { teams: 16, lanes: 16, rows: 4 },
  { teams: 8, lanes: 16, rows: 8 },
  { teams: 8, lanes: 16, rows: 4 },
  { teams: 4, lanes: 16, rows: 4 },
];

/**
 * A CPU runs the lanes of a subgroup as one vector and pays most for each load of a lane from workgroup memory. Where
 * a team is a subgroup, lanes load each row once among them, so rows are cheap.
 */
function softwareShapes(traits: DeviceTraits): readonly ShapesRow[] {
  const lanes = fixedSubgroupSize(traits);
  if (lanes !== 4 && lanes !== 8) {
    const shapes = [
      { teams: 8, lanes: 4, rows: 4 },
      { teams: 4, lanes: 4, rows: 4 },
    ];
    return [{ headDim: 256, shapes }];
  }
  const wide = { teams: 8, lanes, rows: 8 };
  const narrow = { teams: 4, lanes, rows: 8 };
  return [
    { headDim: 64, shapes: [wide, narrow] },
    { headDim: 256, shapes: [narrow, { teams: 2, lanes, rows: 8 }] },
  ];
}

export interface PrefillTileArgs {
  readonly headDim: number;
  readonly headDimV: number;
  readonly qDType: FloatDType;
  readonly kvDType: FloatDType;
  readonly paged: boolean;
}

/**
 * The tile for a device and a head size.
 *
 * @throws PageflashError `limit` if none fits
 */
export function prefillTile(traits: DeviceTraits, args: PrefillTileArgs, caller = 'pageflash'): PrefillTile {
  const shapes = shapesFor(traits, args);
  const { headDim } = args;
  return fittingTile(traits, candidates(traits, args, shapes), needsOf(args), { caller, headDim });
}

/** The tiles that are worth measuring for a device, head sizes and types, all of which it can run. */
export function prefillCandidates(traits: DeviceTraits, args: PrefillTileArgs): PrefillTile[] {
  const isSoftware = traits.deviceClass === 'software';
  const shapes = isSoftware ? shapesFor(traits, args) : MEASURED_GPU_SHAPES;
  return shapes.flatMap((shape) => {
    const tile = candidates(traits, args, [shape]).find((each) => fits(traits, needsOf(args)(each)));
    return tile ? [tile] : [];
  });
}

function needsOf({ paged }: PrefillTileArgs): (tile: PrefillTile) => TileNeeds {
  return (tile) => ({ invocations: tile.teams * tile.lanes, bytes: prefillWorkgroupBytes(tile, paged) });
}

function shapesFor(traits: DeviceTraits, { headDim, headDimV }: PrefillTileArgs): readonly Shape[] {
  const table = traits.deviceClass === 'software' ? softwareShapes(traits) : GPU_SHAPES;
  return table.find((entry) => Math.max(headDim, headDimV) <= entry.headDim)!.shapes;
}

function candidates(traits: DeviceTraits, args: PrefillTileArgs, shapes: readonly Shape[]): PrefillTile[] {
  const { headDim, headDimV, qDType, kvDType } = args;
  const isSoftware = traits.deviceClass === 'software';
  // f16 has neither the range of bf16 nor the precision of f32.
  const f16Tiles = traits.shaderF16 && qDType === 'f16' && kvDType === 'f16';
  return shapes.flatMap((shape) => {
    // Head sizes share pipelines by multiples of 32; the elements beyond are zeros.
    const headQuads = Math.ceil(headDim / 32) * 8;
    const cols = Math.ceil((Math.ceil(headDimV / 32) * 8) / shape.lanes);
    const common = {
      cols,
      headQuads,
      subgroups: traits.subgroupMinSize >= shape.lanes,
      broadcast: isSoftware && fixedSubgroupSize(traits) === shape.lanes,
      f16Tiles,
      rolled: isSoftware,
    };
    return stagings(headQuads).map(({ qResident, sliceQuads }): PrefillTile => {
      const { teams, lanes, rows } = shape;
      const keys = valueKeys(shape, cols, sliceQuads);
      return { teams, lanes, rows, sliceQuads, qResident, valueKeys: keys, ...common };
    });
  });
}

/**
 * Returns how much of a head to stage at a time, best first: all queries at once and keys in up to four slices of dims,
 * or else both in slices as large as memory allows.
 */
function stagings(headQuads: number): Pick<PrefillTile, 'qResident' | 'sliceQuads'>[] {
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

/** As many values as fit into the room of the staged keys, but at least the four that are multiplied at a time. */
function valueKeys(shape: Shape, cols: number, sliceQuads: number): number {
  const room = sliceQuads * (prefillTileKeys(shape) + 1);
  let keys = prefillTileKeys(shape);
  while (keys > 4 && keys * cols * shape.lanes > room) keys /= 2;
  return keys;
}
