import type { DeviceTraits } from '../core/deviceTraits.js';
import type { FloatDType } from '../core/dtype.js';
import { decodeTileKeys, type DecodeTile } from '../kernels/attnDecode.js';
import { prefillTileKeys, prefillTileRows, type PrefillTile } from '../kernels/attnPrefill.js';
import type { SplitToken } from '../kernels/mergeStates.js';
import type { WorkItem } from '../kernels/shared/attention.js';
import type { AttentionProblem, DeviceLengths, HostLengths } from '../problem/attentionProblem.js';
import { decodeTile } from './decodeTile.js';
import { checkWorkItems } from './limits.js';
import { prefillTile } from './prefillTile.js';
import { chooseSplits, sequencesOf, tilesSeen, type TiledSequence, type SequenceToPlan } from './splits.js';

/** Work for one variant of one kernel, heaviest first. */
export interface WorkList {
  readonly tile: { readonly decode: DecodeTile } | { readonly prefill: PrefillTile };
  /** Whether the items are chunks of keys, whose parts are merged. */
  readonly split: boolean;
  readonly items: readonly WorkItem[];
  /** Tiles of keys that each item walks, falling. */
  readonly keyTiles: Uint32Array;
  /** Rows and keys of a tile. */
  readonly tileArea: number;
}

/** All work of a call. */
export interface Work {
  readonly lists: readonly WorkList[];
  /** Every token whose keys were split. */
  readonly merges: readonly SplitToken[];
  /** Parts to be merged, over all tokens. */
  readonly nParts: number;
}

/**
 * Rows up to which attn_decode takes a sequence with several query tokens. A sequence with one query token always goes to
 * attn_decode.
 */
const MAX_DECODE_ROWS = 16;

/** Returns the work lists of the kernels, and what is to be merged after them. */
export function attentionWork(
  problem: AttentionProblem,
  lengths: HostLengths | DeviceLengths,
  traits: DeviceTraits,
): Work {
  const sequences = sequencesOf(problem, lengths).map((each) => assignTile(problem, each, traits));
  const chunkCounts = chooseSplits(problem, sequences, traits);
  const nItems = sequences.reduce(
    (sum, { nRows, tileRows }, i) => sum + Math.ceil(nRows / tileRows) * chunkCounts[i]!,
    0,
  );
  const nMerges = sequences.reduce((sum, { qLen }, i) => sum + (chunkCounts[i]! > 1 ? qLen : 0), 0);
  checkWorkItems(problem.caller, Math.max(nItems, nMerges), 'tiles of queries and keys');
  const lists = new Map<string, WorkListBuilder>();
  const merges: SplitToken[] = [];
  let nParts = 0;
  sequences.forEach((assigned, i) => {
    const { sequence, qLen, nRows, tileRows, tileKeys } = assigned;
    const nChunks = chunkCounts[i]!;
    const split = nChunks > 1;
    const key = `${assigned.isDecode} ${tileRows} ${split}`;
    let list = lists.get(key);
    if (!list) lists.set(key, (list = new WorkListBuilder(assigned, split)));
    for (let first = 0; first < nRows; first += tileRows) {
      const rowTile = first / tileRows;
      const end = Math.min(first + tileRows, nRows);
      const cost = Math.ceil(tilesSeen(problem, assigned, [first, end], tileKeys) / nChunks);
      for (let chunk = 0; chunk < nChunks; chunk++)
        list.add({ sequence, rowTile, chunk, nChunks, firstPart: nParts }, cost);
    }
    if (!split) return;
    for (let token = 0; token < qLen; token++, nParts += nChunks)
      merges.push({ sequence, token, firstPart: nParts, nParts: nChunks });
  });
  return { lists: Array.from(lists.values(), (list) => list.heaviestFirst()), merges, nParts };
}

/** A sequence with all of the tile that takes it. */
export interface AssignedSequence extends TiledSequence {
  readonly tile: WorkList['tile'];
}

/** Chooses the kernel and the tile for a sequence. */
export function assignTile(
  problem: AttentionProblem,
  sequence: SequenceToPlan,
  traits: DeviceTraits,
): AssignedSequence {
  const { caller, headDim, headDimV, q, k, pages } = problem;
  const paged = pages !== null;
  if (isDecode(sequence.qLen, sequence.nRows)) {
    const tile = decodeTile(traits, { headDim, headDimV, nRows: sequence.nRows, paged }, caller);
    return {
      ...sequence,
      isDecode: true,
      tile: { decode: tile },
      tileRows: tile.rows,
      tileKeys: decodeTileKeys(tile),
    };
  }
  const tile = prefillTile(
    traits,
    {
      headDim,
      headDimV,
      qDType: q.tensor.dtype as FloatDType,
      kvDType: k.tensor.dtype as FloatDType,
      paged,
    },
    caller,
  );
  return {
    ...sequence,
    isDecode: false,
    tile: { prefill: tile },
    tileRows: prefillTileRows(tile),
    tileKeys: prefillTileKeys(tile),
  };
}

/** Whether attn_decode takes a sequence. */
export function isDecode(qLen: number, nRows: number): boolean {
  return qLen === 1 || nRows <= MAX_DECODE_ROWS;
}

/** Collects the items for one tile, with what each costs. */
class WorkListBuilder {
  readonly #sequence: AssignedSequence;
  readonly #split: boolean;
  readonly #items: WorkItem[] = [];
  readonly #costs: number[] = [];

  constructor(first: AssignedSequence, split: boolean) {
    this.#sequence = first;
    this.#split = split;
  }

  add(item: WorkItem, cost: number): void {
    this.#items.push(item);
    this.#costs.push(cost);
  }

  /** Returns the list, by falling cost (counting sort); equals keep their order. */
  heaviestFirst(): WorkList {
    const costs = this.#costs;
    const heaviest = costs.reduce((most, cost) => Math.max(most, cost), 0);
    const next = new Uint32Array(heaviest + 2);
    for (const cost of costs) next[heaviest - cost + 1]!++;
    for (let rank = 1; rank < next.length; rank++) next[rank]! += next[rank - 1]!;
    const items = [...this.#items];
    const keyTiles = new Uint32Array(costs.length);
    costs.forEach((cost, i) => {
      const at = next[heaviest - cost]!++;
      items[at] = this.#items[i]!;
      keyTiles[at] = cost;
    });
    const { tile, tileRows, tileKeys } = this.#sequence;
    return { tile, split: this.#split, items, keyTiles, tileArea: tileRows * tileKeys };
  }
}
