import type { DeviceTraits } from '../../src/index.js';
import { decodeTileKeys } from '../../src/kernels/attnDecode.js';
import { prefillTileKeys, prefillTileRows } from '../../src/kernels/attnPrefill.js';
import { NO_MASKS } from '../../src/problem/attentionProblem.js';
import { visibleBand } from '../../src/problem/band.js';
import { isDecode } from '../../src/plan/attentionWork.js';
import { decodeTile } from '../../src/plan/decodeTile.js';
import { prefillTile } from '../../src/plan/prefillTile.js';
import type { Sequence, Settings } from './settings.js';

/** The tiles of keys that one workgroup computes. */
export interface TileBand {
  /** First query and one past the last; fractions if the rows of a query are split between two tiles. */
  readonly queries: readonly [number, number];
  /** First key of the tiles, and one past the last. */
  readonly keys: readonly [number, number];
}

export interface TileBands {
  readonly bands: readonly TileBand[];
  /** The fraction of all tiles that are skipped, 0 to 1. */
  readonly skipped: number;
}

/** The tiles that the kernel computes. It skips all others, since they are wholly masked. */
export function tileBands(
  settings: Settings,
  { nQueries, nKeys }: Sequence,
  traits: DeviceTraits,
): TileBands {
  const { nHeads, nKvHeads, causal, windowSize, attentionChunk } = settings;
  const right = causal ? 0 : windowSize[1];
  const masks = { ...NO_MASKS, left: windowSize[0], right, attentionChunk };
  const group = nHeads / nKvHeads;
  const { rows, width } = tileSize(settings, nQueries * group, nQueries, traits);
  const height = rows / group;
  const shift = nKeys - nQueries;
  const keyRange = { firstKey: 0, kLen: nKeys };

  const bands: TileBand[] = [];
  let computed = 0;
  for (let first = 0; first < nQueries; first += height) {
    const end = Math.min(first + height, nQueries);
    const [begin] = visibleBand(Math.floor(first) + shift, keyRange, masks);
    const [, last] = visibleBand(Math.ceil(end) - 1 + shift, keyRange, masks);
    const firstTile = Math.floor(begin / width);
    const nTiles = last < begin ? 0 : Math.floor(last / width) - firstTile + 1;
    computed += nTiles;
    const keys = [firstTile * width, Math.min((firstTile + nTiles) * width, nKeys)] as const;
    bands.push({ queries: [first, end], keys });
  }
  const all = bands.length * Math.ceil(nKeys / width);
  return { bands, skipped: all > 0 ? 1 - computed / all : 0 };
}

/** Rows and keys of a tile, in the kernel that the planner chooses for the sequence. */
function tileSize(
  { headDim, dtype, pageSize }: Settings,
  nRows: number,
  nQueries: number,
  traits: DeviceTraits,
): { readonly rows: number; readonly width: number } {
  const sizes = { headDim, headDimV: headDim, paged: pageSize > 0 };
  if (isDecode(nQueries, nRows, headDim)) {
    const tile = decodeTile(traits, { ...sizes, kvDType: dtype, nRows });
    return { rows: tile.rows, width: decodeTileKeys(tile) };
  }
  const tile = prefillTile(traits, { ...sizes, qDType: dtype, kvDType: dtype });
  return { rows: prefillTileRows(tile), width: prefillTileKeys(tile) };
}
