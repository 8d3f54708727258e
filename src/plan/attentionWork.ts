import type { DeviceTraits } from '../core/deviceTraits.js';
import type { FloatDType } from '../core/dtype.js';
import { chunkWord } from '../kernels/shared/attention.js';
import type { AttentionProblem, DeviceLengths, HostLengths } from '../problem/attentionProblem.js';
import { decodeTileKeys, type DecodeTile } from '../kernels/attnDecode.js';
import { tileKeys, tileRows, type PrefillTile } from '../kernels/attnPrefill.js';
import { decodeTile } from './decodeTile.js';
import { checkJobs } from './limits.js';
import { prefillTile } from './prefillTile.js';
import { chooseSplits, type Routed } from './splits.js';
import { spansOf, tilesSeen, type Span } from './spans.js';

/** Jobs for one variant of one kernel, heaviest first. */
export interface WorkGroup {
  readonly tile: { readonly decode: DecodeTile } | { readonly prefill: PrefillTile };
  /** Whether the jobs are chunks, to be merged. */
  readonly split: boolean;
  /** Four words each: `Item` of attention.wgsl. */
  readonly items: Uint32Array;
  /** Tiles of keys that each item walks, falling. */
  readonly keyTiles: Uint32Array;
  /** Rows and keys of a tile. */
  readonly tileArea: number;
}

export interface Work {
  readonly groups: readonly WorkGroup[];
  /** (sequence, token, first slot, chunks) of every token whose keys were split, four words each. */
  readonly merges: Uint32Array;
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
  checkJobs(problem.caller, Math.max(nItems, nMerges), 'tiles of queries and keys');
  const groups = new Map<string, Jobs>();
  const merges: number[] = [];
  let nSlots = 0;
  routes.forEach((span, i) => {
    const nChunks = splits[i]!;
    const split = nChunks > 1;
    const key = `${span.isDecode} ${span.tileRows} ${split}`;
    let jobs = groups.get(key);
    if (!jobs) groups.set(key, (jobs = new Jobs(span, split)));
    for (let first = 0; first < span.nRows; first += span.tileRows) {
      const end = Math.min(first + span.tileRows, span.nRows);
      const cost = Math.ceil(tilesSeen(problem, span, [first, end], span.tileKeys) / nChunks);
      for (let chunk = 0; chunk < nChunks; chunk++) {
        jobs.add([span.sequence, first / span.tileRows, chunkWord(chunk, nChunks), nSlots], cost);
      }
    }
    if (!split) return;
    for (let token = 0; token < span.qLen; token++, nSlots += nChunks) {
      merges.push(span.sequence, token, nSlots, nChunks);
    }
  });
  return {
    groups: Array.from(groups.values(), (jobs) => jobs.heaviestFirst()),
    merges: Uint32Array.from(merges),
    nSlots,
  };
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
    tileRows: tileRows(tile),
    tileKeys: tileKeys(tile),
  };
}

/** Whether attn_decode takes a sequence. */
export function isDecode(qLen: number, nRows: number): boolean {
  return qLen === 1 || nRows <= MAX_DECODE_ROWS;
}

class Jobs {
  readonly #route: Route;
  readonly #split: boolean;
  readonly #words: number[] = [];
  readonly #costs: number[] = [];

  constructor(first: Route, split: boolean) {
    this.#route = first;
    this.#split = split;
  }

  add(words: readonly [number, number, number, number], cost: number): void {
    this.#words.push(...words);
    this.#costs.push(cost);
  }

  /** Counting sort by falling cost; equals keep their order. */
  heaviestFirst(): WorkGroup {
    const costs = this.#costs;
    const heaviest = costs.reduce((most, cost) => Math.max(most, cost), 0);
    const next = new Uint32Array(heaviest + 2);
    for (const cost of costs) next[heaviest - cost + 1]!++;
    for (let rank = 1; rank < next.length; rank++) next[rank]! += next[rank - 1]!;
    const items = new Uint32Array(4 * costs.length);
    const keyTiles = new Uint32Array(costs.length);
    costs.forEach((cost, i) => {
      const at = next[heaviest - cost]!++;
      for (let word = 0; word < 4; word++) items[4 * at + word] = this.#words[4 * i + word]!;
      keyTiles[at] = cost;
    });
    const { tile, tileRows: rows, tileKeys: keys } = this.#route;
    return { tile, split: this.#split, items, keyTiles, tileArea: rows * keys };
  }
}
