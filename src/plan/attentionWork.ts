import type { DeviceTraits } from '../core/deviceTraits.js';
import type { FloatDType, KvDType } from '../core/dtype.js';
import { StepMemory } from '../core/stepMemory.js';
import { decodeTileKeys, type DecodeTile } from '../kernels/attnDecode.js';
import { matrixTileRows, type MatrixTile } from '../kernels/attnMatrix.js';
import { prefillTileKeys, prefillTileRows, type PrefillTile } from '../kernels/attnPrefill.js';
import type { SplitToken } from '../kernels/mergeStates.js';
import type { WorkItem } from '../kernels/shared/batchInfo.js';
import type { AttentionProblem, DeviceLengths, HostLengths } from '../problem/attentionProblem.js';
import { checkWorkItems } from './limits.js';
import {
  chooseSplits,
  sequencesOf,
  tilesSeen,
  type Mutable,
  type SequenceToPlan,
  type TiledSequence,
} from './splits.js';
import { chooseDecodeTile, choosePrefillTile } from './tunedTiles.js';

/** Work for one variant of one kernel, heaviest first. */
export interface WorkList {
  readonly tile: KernelTile;
  /** Whether it is that of steps, for which keys are read, rather than of prompts, for which they are multiplied. */
  readonly isDecode: boolean;
  /** Whether the items are chunks of keys, whose parts are merged. */
  readonly split: boolean;
  readonly items: readonly WorkItem[];
  /** Tiles of keys that each item walks, falling. */
  readonly keyTiles: Uint32Array;
  /** Rows and keys of a tile. */
  readonly tileArea: number;
}

/** A tile of the kernel that takes the work. */
export type KernelTile =
  { readonly decode: DecodeTile } | { readonly prefill: PrefillTile } | { readonly matrix: MatrixTile };

/** All work of a call. */
export interface Work {
  readonly lists: readonly WorkList[];
  /** Every token whose keys were split. */
  readonly merges: readonly SplitToken[];
  /** Parts to be merged, over all tokens. */
  readonly nParts: number;
}

/**
 * Rows up to which a sequence with several query tokens is taken as one that decodes. A sequence with one query token always
 * is, unless its heads are larger than `MAX_DECODE_DIM`.
 */
export const MAX_DECODE_ROWS = 16;

/**
 * attn_decode reads keys and values once for every eight rows. Where up to 128 query heads share one kv head (MLA), that is
 * 16 times, with four multiply-adds for each byte: more bytes than the caches of most devices deliver. A tile of attn_prefill
 * reads them once for 32 rows.
 */
const MAX_DECODE_DIM = 256;

/**
 * Returns the work lists of the kernels, and what is to be merged after them. Their arrays are those of `memory`.
 *
 * @param leavesParts whether each token is to be merged with other parts, although its keys are one chunk
 */
export function attentionWork(
  problem: AttentionProblem,
  lengths: HostLengths | DeviceLengths,
  traits: DeviceTraits,
  memory = new StepMemory(),
  leavesParts = false,
): Work {
  const sequences = assignedSequences(problem, lengths, traits, memory);
  const chunkCounts = chooseSplits(problem, sequences, traits, memory);
  let nItems = 0;
  let nMerges = 0;
  sequences.forEach(({ qLen, nRows, tileRows }, i) => {
    nItems += Math.ceil(nRows / tileRows) * chunkCounts[i]!;
    if (leavesParts || chunkCounts[i]! > 1) nMerges += qLen;
  });
  checkWorkItems(problem.caller, Math.max(nItems, nMerges), 'tiles of queries and keys');
  const lists = new WorkLists(memory);
  const merges = memory.list<Mutable<SplitToken>>('merges');
  let merge = 0;
  let nParts = 0;
  sequences.forEach((assigned, i) => {
    const { sequence, qLen, nRows, tileRows, tileKeys } = assigned;
    const nChunks = chunkCounts[i]!;
    const split = leavesParts || nChunks > 1;
    const list = lists.of(assigned, split);
    for (let first = 0; first < nRows; first += tileRows) {
      const rowTile = first / tileRows;
      const end = Math.min(first + tileRows, nRows);
      const cost = Math.ceil(tilesSeen(problem, assigned, first, end, tileKeys) / nChunks);
      for (let chunk = 0; chunk < nChunks; chunk++) {
        const item = list.add(cost);
        item.sequence = sequence;
        item.rowTile = rowTile;
        item.chunk = chunk;
        item.nChunks = nChunks;
        item.firstPart = nParts;
      }
    }
    if (!split) return;
    for (let token = 0; token < qLen; token++, nParts += nChunks) {
      const each = (merges[merge++] ??= { sequence, token, firstPart: 0, nParts: 0 });
      each.sequence = sequence;
      each.token = token;
      each.firstPart = nParts;
      each.nParts = nChunks;
    }
  });
  merges.length = merge;
  return { lists: lists.heaviestFirst(), merges, nParts };
}

/** A sequence with all of the tile that takes it. */
export interface AssignedSequence extends TiledSequence {
  readonly tile: WorkList['tile'];
}

/** Returns the sequences that have queries, each with its kernel and tile. */
function assignedSequences(
  problem: AttentionProblem,
  lengths: HostLengths | DeviceLengths,
  traits: DeviceTraits,
  memory: StepMemory,
): readonly AssignedSequence[] {
  const sequences = sequencesOf(problem, lengths, memory) as Mutable<AssignedSequence>[];
  // By the rows of a sequence; prefill has one tile for any number of them.
  const tiles = memory.keep('tiles', [problem, traits], () => tilesFor(problem, traits));
  for (const sequence of sequences) {
    const rows = isDecode(sequence.qLen, sequence.nRows, problem.headDim) ? sequence.nRows : Infinity;
    let choice = tiles.get(rows);
    if (!choice) tiles.set(rows, (choice = chooseTile(problem, sequence, traits)));
    sequence.isDecode = choice.isDecode;
    sequence.tile = choice.tile;
    sequence.tileRows = choice.tileRows;
    sequence.tileKeys = choice.tileKeys;
  }
  return sequences;
}

/** What was chosen on a device, by what it depends on: every call asks for it. */
const chosen = new WeakMap<DeviceTraits, Map<string, Map<number, TileChoice>>>();

function tilesFor({ headDim, headDimV, q, k, pages, lse, turned }: AttentionProblem, traits: DeviceTraits) {
  let byProblem = chosen.get(traits);
  if (!byProblem) chosen.set(traits, (byProblem = new Map()));
  const dtypes = `${q.tensor.dtype} ${turned?.q.tensor.dtype} ${k.tensor.dtype}`;
  const key = `${headDim} ${headDimV} ${dtypes} ${pages !== null} ${lse !== null}`;
  let tiles = byProblem.get(key);
  if (!tiles) byProblem.set(key, (tiles = new Map<number, TileChoice>()));
  return tiles;
}

type TileChoice = Pick<AssignedSequence, 'isDecode' | 'tile' | 'tileRows' | 'tileKeys'>;

/** Chooses the kernel and the tile for a sequence. */
export function chooseTile(
  { caller, headDim, headDimV, q, k, pages, lse, turned }: AttentionProblem,
  { qLen, nRows }: Pick<SequenceToPlan, 'qLen' | 'nRows'>,
  traits: DeviceTraits,
): TileChoice {
  const args = {
    headDim,
    headDimV,
    qDType: q.tensor.dtype as FloatDType,
    turnedDType: turned?.q.tensor.dtype as FloatDType | undefined,
    kvDType: k.tensor.dtype as KvDType,
    paged: pages !== null,
    lse: lse !== null,
  };
  const decodes = isDecode(qLen, nRows, headDim);
  const tile = decodes
    ? chooseDecodeTile(traits, { ...args, nRows }, caller)
    : choosePrefillTile(traits, args, caller);
  return { isDecode: decodes, tile, tileRows: tileRowsOf(tile), tileKeys: tileKeysOf(tile) };
}

/** Rows that a kernel takes at a time. */
export function tileRowsOf(tile: KernelTile): number {
  if ('matrix' in tile) return matrixTileRows(tile.matrix);
  return 'decode' in tile ? tile.decode.rows : prefillTileRows(tile.prefill);
}

/** Keys that a kernel takes at a time. */
export function tileKeysOf(tile: KernelTile): number {
  if ('matrix' in tile) return tile.matrix.keys;
  return 'decode' in tile ? decodeTileKeys(tile.decode) : prefillTileKeys(tile.prefill);
}

/** Whether attn_decode takes a sequence. */
export function isDecode(qLen: number, nRows: number, headDim: number): boolean {
  return nRows <= MAX_DECODE_ROWS || (qLen === 1 && headDim <= MAX_DECODE_DIM);
}

/** The work lists of a step, in the order in which sequences need them. */
class WorkLists {
  readonly #memory: StepMemory;
  /** Those of earlier steps too, to be filled again. */
  readonly #builders: WorkListBuilder[];
  #n = 0;

  constructor(memory: StepMemory) {
    this.#memory = memory;
    this.#builders = memory.list('work lists');
  }

  /** Returns the list for the tile of a sequence, whose keys are split or not. */
  of(sequence: AssignedSequence, split: boolean): WorkListBuilder {
    for (let i = 0; i < this.#n; i++)
      if (this.#builders[i]!.isFor(sequence, split)) return this.#builders[i]!;
    const builder = (this.#builders[this.#n] ??= new WorkListBuilder(this.#n));
    this.#n++;
    builder.begin(sequence, split);
    return builder;
  }

  heaviestFirst(): WorkList[] {
    return this.#builders.slice(0, this.#n).map((builder) => builder.heaviestFirst(this.#memory));
  }
}

/** Collects the items for one tile, with what each costs. */
class WorkListBuilder {
  readonly #name: string;
  #tile!: TileChoice;
  #split = false;
  /** As they were added, and in the order of the list; more than there are. */
  readonly #items: Mutable<WorkItem>[] = [];
  readonly #sorted: WorkItem[] = [];
  readonly #costs: number[] = [];
  #n = 0;
  #heaviest = 0;

  constructor(index: number) {
    this.#name = `of work list ${index}`;
  }

  isFor({ isDecode: forDecode, tile, tileRows }: TileChoice, split: boolean): boolean {
    const own = this.#tile;
    if (this.#split !== split || own.isDecode !== forDecode || own.tileRows !== tileRows) return false;
    return 'matrix' in own.tile === 'matrix' in tile;
  }

  begin({ isDecode: forDecode, tile, tileRows, tileKeys }: TileChoice, split: boolean): void {
    this.#tile = { isDecode: forDecode, tile, tileRows, tileKeys };
    this.#split = split;
    this.#n = 0;
    this.#heaviest = 0;
  }

  /** Adds an item, which is then to be filled. */
  add(cost: number): Mutable<WorkItem> {
    const i = this.#n++;
    this.#costs[i] = cost;
    this.#heaviest = Math.max(this.#heaviest, cost);
    return (this.#items[i] ??= { sequence: 0, rowTile: 0, chunk: 0, nChunks: 0, firstPart: 0 });
  }

  /** Returns the list, by falling cost (counting sort); equals keep their order. */
  heaviestFirst(memory: StepMemory): WorkList {
    const n = this.#n;
    const heaviest = this.#heaviest;
    const next = memory.words(`places ${this.#name}`, heaviest + 2).fill(0);
    for (let i = 0; i < n; i++) next[heaviest - this.#costs[i]! + 1]!++;
    for (let rank = 1; rank < next.length; rank++) next[rank]! += next[rank - 1]!;
    const keyTiles = memory.words(`costs ${this.#name}`, n);
    this.#sorted.length = n;
    for (let i = 0; i < n; i++) {
      const cost = this.#costs[i]!;
      const at = next[heaviest - cost]!++;
      this.#sorted[at] = this.#items[i]!;
      keyTiles[at] = cost;
    }
    const { tile, isDecode: forDecode, tileRows, tileKeys } = this.#tile;
    return {
      tile,
      isDecode: forDecode,
      split: this.#split,
      items: this.#sorted,
      keyTiles,
      tileArea: tileRows * tileKeys,
    };
  }
}
