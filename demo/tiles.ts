import type { DeviceTraits } from '../src/index.js';
import { tileKeys, tileRows } from '../src/kernels/attnPrefill.js';
import { visibleBand } from '../src/kernels/band.js';
import { prefillTile } from '../src/plan/prefillTile.js';
import type { Sequence, Settings } from './settings.js';

/** The tiles of a sequence that one workgroup of attn_prefill walks. */
export interface TileBand {
  /** Queries, fractions where the rows of one are in two tiles: first, and one past the last. */
  readonly queries: readonly [number, number];
  /** Keys of the tiles that are computed. */
  readonly keys: readonly [number, number];
}

export interface TileBands {
  readonly bands: readonly TileBand[];
  /** The share of all tiles that are never touched, 0 to 1. */
  readonly skipped: number;
}

/** Which tiles of queries and keys the kernel computes; all others are masked as a whole. */
export function tileBands(
  settings: Settings,
  { nQueries, nKeys }: Sequence,
  traits: DeviceTraits,
): TileBands {
  const { nHeads, nKvHeads, headDim, dtype, causal, windowSize, attentionChunk, pageSize } = settings;
  const tile = prefillTile(traits, {
    headDim,
    headDimV: headDim,
    qDType: dtype,
    kvDType: dtype,
    paged: pageSize > 0,
  });
  const masks = { left: windowSize[0], right: causal ? 0 : windowSize[1], attentionChunk };
  const group = nHeads / nKvHeads;
  const height = tileRows(tile) / group;
  const width = tileKeys(tile);
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
