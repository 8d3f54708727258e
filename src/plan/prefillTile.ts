import type { DeviceTraits } from '../core/deviceTraits.js';
import type { FloatDType } from '../core/dtype.js';
import { PageflashError } from '../core/errors.js';
import { tileKeys, workgroupBytes, type PrefillTile } from '../kernels/attnPrefill.js';

/** How a workgroup's threads are arranged. */
type Shape = Pick<PrefillTile, 'teams' | 'lanes' | 'rows'>;

/**
 * Shapes of a tile, best first; the first that fits a device's workgroup memory is taken. Rows of `headDim` are upper
 * bounds. Registers grow with rows · (4 + headDim / lanes), memory with teams · rows · headDim.
 */
const SHAPES: Readonly<Record<DeviceTraits['deviceClass'], readonly { headDim: number; shapes: Shape[] }[]>> =
  {
    gpu: [
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
    ],
    // A CPU runs the threads of a workgroup one after another, some at a time: few threads with long rows.
    software: [
      { headDim: 128, shapes: [{ teams: 8, lanes: 8, rows: 4 }] },
      {
        headDim: 256,
        shapes: [
          { teams: 8, lanes: 8, rows: 4 },
          { teams: 4, lanes: 8, rows: 4 },
        ],
      },
    ],
  };

/** How much of a head is staged at a time, best first. */
const STAGINGS: readonly (Pick<PrefillTile, 'qResident'> & { readonly parts: number })[] = [
  { qResident: true, parts: 1 },
  { qResident: true, parts: 2 },
  { qResident: true, parts: 4 },
  { qResident: false, parts: 1 },
  { qResident: false, parts: 2 },
  { qResident: false, parts: 4 },
  { qResident: false, parts: 8 },
  { qResident: false, parts: 16 },
];

/** Staging less of a head at a time would be more barriers than work. */
const MIN_CHUNK_QUADS = 4;

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
 * @throws PageflashError `limit` where none fits
 */
export function prefillTile(traits: DeviceTraits, args: PrefillTileArgs): PrefillTile {
  const { paged } = args;
  const tiles = candidates(traits, args);
  const tile = tiles.find(
    (candidate) =>
      candidate.teams * candidate.lanes <= traits.maxWorkgroupInvocations &&
      workgroupBytes(candidate, paged) <= traits.maxWorkgroupBytes,
  );
  if (tile) return tile;
  const least = Math.min(...tiles.map((candidate) => workgroupBytes(candidate, paged)));
  throw new PageflashError(
    'limit',
    `The smallest tile for headDim ${args.headDim} needs ${least} bytes of workgroup memory; this device allows ${traits.maxWorkgroupBytes}. Ask for maxComputeWorkgroupStorageSize, or use requestDevice().`,
  );
}

function candidates(traits: DeviceTraits, args: PrefillTileArgs): PrefillTile[] {
  const { headDim, headDimV, qDType, kvDType } = args;
  const row = SHAPES[traits.deviceClass].find((entry) => Math.max(headDim, headDimV) <= entry.headDim)!;
  // bf16 has numbers that f16 cannot hold, f32 has digits.
  const f16Tiles = traits.shaderF16 && qDType === 'f16' && kvDType === 'f16';
  return row.shapes.flatMap((shape) => {
    // Head sizes share pipelines by multiples of 32; the elements beyond are zeros.
    const headQuads = Math.ceil(headDim / 32) * 8;
    const cols = Math.ceil(headDimV / (4 * shape.lanes));
    const subgroups = traits.subgroupMinSize >= shape.lanes;
    return STAGINGS.filter(({ parts }) => headQuads % (MIN_CHUNK_QUADS * parts) === 0).map(
      ({ qResident, parts }): PrefillTile => ({
        ...shape,
        cols,
        headQuads,
        chunkQuads: headQuads / parts,
        valueKeys: Math.max(4, tileKeys(shape) / parts),
        qResident,
        subgroups,
        f16Tiles,
        rolled: traits.deviceClass === 'software',
      }),
    );
  });
}
