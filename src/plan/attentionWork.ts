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
import { chooseSplits, spansOf, tilesSeen, type Routed, type Span } from './splits.js';

/** Work for one variant of one kernel, heaviest first. */
export interface WorkGroup {
  readonly tile: { readonly decode: DecodeTile } | { readonly prefill: PrefillTile };
  /** Whether the items are chunks, to be merged. */
  readonly split: boolean;
  readonly items: readonly WorkItem[];
  /** Tiles of keys that each item walks, falling. */
  readonly keyTiles: Uint32Array;
  /** Rows and keys of a tile. */
  readonly tileArea: number;
}

export interface Work {
  readonly groups: readonly WorkGroup[];
  /** Every token whose keys were split. */
  readonly merges: readonly SplitToken[];
  /** Parts to be merged, over all tokens. */
  readonly nSlots: number;
}

/** Rows up to which attn_decode takes a sequence of several tokens; one of a single token it takes with any number. */
const MAX_DECODE_ROWS = 16;

/** What there is to do, and by which kernel. */
export function attentionWork(
  problem: AttentionProblem,
  lengths: HostLengths | DeviceLengths,
  traits: DeviceTraits,
): Work {
  const routes = spansOf(problem, lengths).map((span) => routeOf(problem, span, traits));
  const splits = chooseSplits(problem, routes, traits);
  const nItems = routes.reduce((sum, span, i) => sum + Math.ceil(span.nRows / span.tileRows) * splits[i]!, 0);
  const nMerges = routes.reduce((sum, span, i) => sum + (splits[i]! > 1 ? span.qLen : 0), 0);
  checkWorkItems(problem.caller, Math.max(nItems, nMerges), 'tiles of queries and keys');
  const lists = new Map<string, WorkList>();
  const merges: SplitToken[] = [];
  let nSlots = 0;
  routes.forEach((route, i) => {
    const { sequence, qLen, nRows, tileRows, tileKeys } = route;
    const nChunks = splits[i]!;
    const split = nChunks > 1;
    const key = `${route.isDecode} ${tileRows} ${split}`;
    let list = lists.get(key);
    if (!list) lists.set(key, (list = new WorkList(route, split)));
    for (let first = 0; first < nRows; first += tileRows) {
      const rowTile = first / tileRows;
      const end = Math.min(first + tileRows, nRows);
      const cost = Math.ceil(tilesSeen(problem, route, [first, end], tileKeys) / nChunks);
      for (let chunk = 0; chunk < nChunks; chunk++)
        list.add({ sequence, rowTile, chunk, nChunks, slot: nSlots }, cost);
    }
    if (!split) return;
    for (let token = 0; token < qLen; token++, nSlots += nChunks)
      merges.push({ sequence, token, firstPart: nSlots, nParts: nChunks });
  });
  return { groups: Array.from(lists.values(), (list) => list.heaviestFirst()), merges, nSlots };
}

/** A sequence with the tile that takes it. */
export interface Route extends Routed {
  readonly tile: WorkGroup['tile'];
}

export function routeOf(problem: AttentionProblem, span: Span, traits: DeviceTraits): Route {
  const { caller, headDim, headDimV, q, k, pages } = problem;
  const paged = pages !== null;
  if (isDecode(span.qLen, span.nRows)) {
    const tile = decodeTile(traits, { headDim, headDimV, nRows: span.nRows, paged }, caller);
    return {
      ...span,
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
    ...span,
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

/** Items for one tile, with what each costs. */
class WorkList {
  readonly #route: Route;
  readonly #split: boolean;
  readonly #items: WorkItem[] = [];
  readonly #costs: number[] = [];

  constructor(first: Route, split: boolean) {
    this.#route = first;
    this.#split = split;
  }

  add(item: WorkItem, cost: number): void {
    this.#items.push(item);
    this.#costs.push(cost);
  }

  /** Counting sort by falling cost; equals keep their order. */
  heaviestFirst(): WorkGroup {
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
    const { tile, tileRows, tileKeys } = this.#route;
    return { tile, split: this.#split, items, keyTiles, tileArea: tileRows * tileKeys };
  }
}
