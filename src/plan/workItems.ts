import {
  isHostLengths,
  type AttentionProblem,
  type DeviceLengths,
  type HostLengths,
} from '../kernels/attentionProblem.js';
import { tileKeys, tileRows, type PrefillTile } from '../kernels/attnPrefill.js';
import { visibleBand } from '../kernels/band.js';

/** The jobs of a prefill, one for each tile of rows of each sequence, heaviest first. */
export interface WorkItems {
  /** (sequence, row tile) pairs, as the kernel reads them. */
  readonly items: Uint32Array;
  /** Tiles of keys that each item walks, falling. */
  readonly keyTiles: Uint32Array;
}

/** Work of lengths that the host knows. Where only bounds are known, each item is given the most it may have. */
export function workItems(
  problem: AttentionProblem,
  lengths: HostLengths | DeviceLengths,
  tile: PrefillTile,
): WorkItems {
  const group = problem.nHeads / problem.nKvHeads;
  const height = tileRows(tile);
  const sequences: number[] = [];
  const rowTiles: number[] = [];
  const costs: number[] = [];
  for (let b = 0; b < problem.batch; b++) {
    const [qLen, kLen] = isHostLengths(lengths)
      ? [lengths.qLen[b]!, lengths.kLen[b]!]
      : [lengths.maxSeqlenQ, lengths.maxSeqlenK];
    const nRows = qLen * group;
    for (let first = 0; first < nRows; first += height) {
      const firstToken = Math.floor(first / group);
      const lastToken = Math.floor((Math.min(first + height, nRows) - 1) / group);
      sequences.push(b);
      rowTiles.push(first / height);
      costs.push(keyTilesOf(problem, tile, firstToken + kLen - qLen, lastToken + kLen - qLen, kLen));
    }
  }
  return heaviestFirst(sequences, rowTiles, costs);
}

/** Tiles of keys that rows from position `first` to `last` walk. */
function keyTilesOf(
  { masks }: AttentionProblem,
  tile: PrefillTile,
  first: number,
  last: number,
  kLen: number,
): number {
  const [begin] = visibleBand(first, kLen, masks);
  const [, end] = visibleBand(last, kLen, masks);
  if (end < begin) return 0;
  const keys = tileKeys(tile);
  return Math.floor(end / keys) - Math.floor(begin / keys) + 1;
}

/** Counting sort by falling cost; equals keep their order. */
function heaviestFirst(
  sequences: readonly number[],
  rowTiles: readonly number[],
  costs: readonly number[],
): WorkItems {
  const heaviest = costs.reduce((most, cost) => Math.max(most, cost), 0);
  const next = new Uint32Array(heaviest + 2);
  for (const cost of costs) next[heaviest - cost + 1]!++;
  for (let rank = 1; rank < next.length; rank++) next[rank]! += next[rank - 1]!;
  const items = new Uint32Array(2 * costs.length);
  const keyTiles = new Uint32Array(costs.length);
  costs.forEach((cost, i) => {
    const at = next[heaviest - cost]!++;
    items.set([sequences[i]!, rowTiles[i]!], 2 * at);
    keyTiles[at] = cost;
  });
  return { items, keyTiles };
}
