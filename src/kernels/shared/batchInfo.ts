import { StepMemory } from '../../core/stepMemory.js';
import { isTensor, windowOf } from '../../core/tensor.js';
import type { AttentionProblem, HeadScales, HostLengths, TokenRows } from '../../problem/attentionProblem.js';
import { blockWords, sparesMaskMod, type BlockLists, type Blocks } from '../../problem/blockMask.js';
import { firstTokenOf, masksByPosition, tokenPositions } from '../../problem/tokenMasks.js';
import type { StructLayout } from '../../wgsl/kernel.js';
import { placesOf } from '../../wgsl/records.js';
import { constantOf, structOf } from '../../wgsl/reflection.js';
import batchInfo from './batch_info.wgsl?module';

/**
 * Where things lie in the words of `batch_info`: sequences, then ALiBi slopes, sinks, scales of kv heads, positions and trees
 * of tokens, bits of blocks, and last the items of the plan, of which there may be any number.
 */
export interface BatchInfoLayout {
  readonly slopesAt: number;
  /** Words from a sequence's slopes to the next one's; 0 where all share them. */
  readonly slopesSequence: number;
  readonly nSlopes: number;
  readonly sinksAt: number;
  readonly nSinks: number;
  /** Scales of keys by kv head, where heads have them. */
  readonly kScalesAt: number;
  /** Likewise of values. */
  readonly vScalesAt: number;
  /** How many of either. */
  readonly nScales: number;
  /** Where the tokens of each sequence begin. */
  readonly tokensAt: number;
  readonly positionsAt: number;
  readonly treeAt: number;
  /** Rows of bits, a bit for each block of keys that is seen. */
  readonly blocksAt: number;
  /** Likewise of those that are full, where a function of the caller's need not be asked about them. */
  readonly fullBlocksAt: number;
  /** Where items begin, in items. */
  readonly itemsAt: number;
  /** The same in words: all that is before them. */
  readonly itemWord: number;
}

export function batchInfoLayout(problem: AttentionProblem): BatchInfoLayout {
  const { batch, nHeads, nKvHeads, slopes, sinks, masks, blocks } = problem;
  const slopesSequence = slopes?.perSequence ? nHeads : 0;
  const nSlopes = slopes ? (slopes.perSequence ? batch : 1) * nHeads : 0;
  const nSinks = sinks ? nHeads : 0;
  const slopesAt = (batch * sequenceLayout().bytes) / Uint32Array.BYTES_PER_ELEMENT;
  const sinksAt = slopesAt + nSlopes;
  const nScales = headScalesOf(problem) ? nKvHeads : 0;
  const kScalesAt = sinksAt + nSinks;
  const vScalesAt = kScalesAt + nScales;
  const tokensAt = vScalesAt + nScales;
  const { nTokens, positionRows, treeWords } = masks.tokens ?? NO_TOKENS;
  const positionsAt = tokensAt + (masks.tokens ? batch * tokenPlaceWords() : 0);
  const treeAt = positionsAt + positionRows * nTokens;
  const blocksAt = treeAt + treeWords * nTokens;
  const allBlockWords = blocks ? nBlockRows(blocks) * blockWords(blocks) : 0;
  const fullBlocksAt = blocksAt + allBlockWords;
  const { words: wordsOfItem } = itemPlaces();
  const endOfBlocks = fullBlocksAt + (sparesMaskMod(problem) ? allBlockWords : 0);
  const itemsAt = Math.ceil(endOfBlocks / wordsOfItem);
  return {
    slopesAt,
    slopesSequence,
    nSlopes,
    sinksAt,
    nSinks,
    kScalesAt,
    vScalesAt,
    nScales,
    tokensAt,
    positionsAt,
    treeAt,
    blocksAt,
    fullBlocksAt,
    itemsAt,
    itemWord: itemsAt * wordsOfItem,
  };
}

/** Rows of bits, of all sequences and heads that have some. */
export function nBlockRows({ sequences, heads, nRows }: Blocks): number {
  return sequences * heads * nRows;
}

const NO_TOKENS = { nTokens: 0, positionRows: 0, treeWords: 0 };

function tokenPlaceWords(): number {
  return constantOf({ modules: [batchInfo] }, 'TOKEN_PLACE_WORDS');
}

/** The scales of a cache whose heads have one each, whatever the token. */
export function headScalesOf({ scales }: AttentionProblem): HeadScales | null {
  return scales?.per === 'head' ? scales : null;
}

/**
 * `batch_info` where the host knows all of it, in words of `memory`.
 *
 * @param items what `packItems` returns, or other records of their size
 */
export function hostBatchInfo(
  problem: AttentionProblem,
  lengths: HostLengths,
  items: Uint32Array,
  memory = new StepMemory(),
): Uint32Array {
  const { slopes, sinks } = problem;
  const { slopesAt, sinksAt, kScalesAt, vScalesAt, itemWord } = batchInfoLayout(problem);
  const info = memory.words('batch info', itemWord + items.length);
  info.set(items, itemWord);
  writeSequences(info, problem, lengths);
  if (slopes) info.set(bitsOf(slopes.values as Float32Array), slopesAt);
  if (sinks) info.set(bitsOf(sinks as Float32Array), sinksAt);
  const scales = headScalesOf(problem);
  if (scales) {
    info.set(bitsOf(scales.k as Float32Array), kScalesAt);
    info.set(bitsOf(scales.v as Float32Array), vScalesAt);
  }
  if (problem.masks.tokens) writeTokens(info, problem, lengths);
  if (problem.blocks) writeBlocks(info, problem, problem.blocks);
  return info;
}

/** Writes where each sequence's tokens begin, then positions and trees. */
function writeTokens(info: Uint32Array, problem: AttentionProblem, lengths: HostLengths): void {
  const { batch, masks } = problem;
  const { tokensAt, positionsAt, treeAt } = batchInfoLayout(problem);
  const positions = lengths.tokens!.positions as Int32Array | null;
  const tree = lengths.tokens!.tree as Uint32Array | null;
  for (let b = 0; b < batch; b++) {
    const start = firstTokenOf(masks.tokens!, lengths, b);
    const inOrder = !masksByPosition(masks) || tokenPositions(positions!, start, lengths.qLen[b]!).inOrder;
    info[tokensAt + b * tokenPlaceWords()] = start;
    info[tokensAt + b * tokenPlaceWords() + 1] = inOrder ? 1 : 0;
  }
  if (positions) info.set(positions, positionsAt);
  if (tree) info.set(tree, treeAt);
}

/** Writes a bit for each block that is listed, and for each that is full where that counts. */
function writeBlocks(info: Uint32Array, problem: AttentionProblem, blocks: Blocks): void {
  const { blocksAt, fullBlocksAt, itemWord } = batchInfoLayout(problem);
  info.fill(0, blocksAt, itemWord);
  writeLists(info, blocks, blocks.listed, blocksAt);
  if (!blocks.full) return;
  writeLists(info, blocks, blocks.full, blocksAt);
  if (sparesMaskMod(problem)) writeLists(info, blocks, blocks.full, fullBlocksAt);
}

function writeLists(info: Uint32Array, blocks: Blocks, lists: BlockLists, at: number): void {
  const { heads, nRows } = blocks;
  const [listSequences, listHeads, , width] = lists.indexShape;
  const counts = lists.counts as Int32Array;
  const indices = lists.indices as Int32Array;
  for (let row = 0; row < nBlockRows(blocks); row++) {
    const sequence = listSequences === 1 ? 0 : Math.floor(row / (heads * nRows));
    const head = listHeads === 1 ? 0 : Math.floor(row / nRows) % heads;
    const list = (sequence * listHeads + head) * nRows + (row % nRows);
    for (let i = 0; i < counts[list]!; i++) {
      const block = indices[list * width + i]!;
      info[at + row * blockWords(blocks) + Math.floor(block / 32)]! |= 1 << (block % 32);
    }
  }
}

function bitsOf({ buffer, byteOffset, length }: Float32Array): Uint32Array {
  return new Uint32Array(buffer, byteOffset, length);
}

/** Packs one `Sequence` record of batch_info.wgsl per sequence, into words of `memory`: see `writeSequences`. */
export function hostSequences(
  problem: AttentionProblem,
  lengths: HostLengths,
  memory = new StepMemory(),
): Uint32Array {
  const { words } = sequencePlaces();
  const sequences = memory.words('sequences', problem.batch * words);
  writeSequences(sequences, problem, lengths);
  return sequences;
}

/** Writes the records of all sequences: lengths, and where their data begin. */
function writeSequences(words: Uint32Array, problem: AttentionProblem, lengths: HostLengths): void {
  const { batch, q, k, v, out, lse, append } = problem;
  const { qStart, qLen, kStart, kLen, firstKey, nCached, newStart, row } = lengths;
  const bases = basesOf(problem);
  const places = sequencePlaces();
  for (let b = 0; b < batch; b++) {
    const at = b * places.words;
    words[at + places.q_len] = qLen[b]!;
    words[at + places.k_len] = kLen[b]!;
    words[at + places.first_key] = firstKey[b]!;
    words[at + places.n_cached] = nCached[b]!;
    words[at + places.q_base] = startOf(bases.q, q, b, qStart[b]!);
    words[at + places.k_base] = startOf(bases.k, k, row[b]!, kStart[b]!);
    words[at + places.v_base] = startOf(bases.v, v, row[b]!, kStart[b]!);
    words[at + places.out_base] = startOf(bases.out, out, b, qStart[b]!);
    words[at + places.lse_base] = startOf(bases.lse, lse, b, qStart[b]!);
    words[at + places.table_base] = bases.table + row[b]! * tableRowStride(problem);
    words[at + places.new_k_base] = startOf(bases.newK, append?.newK, b, newStart[b]!);
    words[at + places.new_v_base] = startOf(bases.newV, append?.newV, b, newStart[b]!);
    words[at + places.q_start] = qStart[b]!;
  }
}

/** A tile of a sequence's rows against a chunk of the keys that they see; see batch_info.wgsl. */
export interface WorkItem {
  readonly sequence: number;
  readonly rowTile: number;
  readonly chunk: number;
  readonly nChunks: number;
  /** Index of the first part of a split sequence. */
  readonly firstPart: number;
}

/** Packs the items of lists, one after another, as `Item` of batch_info.wgsl, into words of `memory`. */
export function packItems(lists: readonly (readonly WorkItem[])[], memory = new StepMemory()): Uint32Array {
  const places = itemPlaces();
  const nItems = lists.reduce((sum, items) => sum + items.length, 0);
  const words = memory.words('items', nItems * places.words);
  const limit = chunkLimit();
  let at = 0;
  for (const items of lists) {
    for (const { sequence, rowTile, chunk, nChunks, firstPart } of items) {
      words[at + places.sequence] = sequence;
      words[at + places.row_tile] = rowTile;
      words[at + places.chunks] = chunk + nChunks * limit;
      words[at + places.first_part] = firstPart;
      at += places.words;
    }
  }
  return words;
}

const ITEM_FIELDS = { sequence: true, row_tile: true, chunks: true, first_part: true } as const;

function itemPlaces() {
  return placesOf(structOf({ modules: [batchInfo] }, 'Item'), ITEM_FIELDS);
}

/** The most chunks that an item can count. */
export function maxChunks(): number {
  return Math.min(chunkLimit(), 2 ** 32 / chunkLimit() - 1);
}

function chunkLimit(): number {
  return constantOf({ modules: [batchInfo] }, 'CHUNK_LIMIT');
}

/** From one row to the next in what `table_base` counts: entries of the block table, or where there is none rows of the cache. */
export function tableRowStride({ pages }: AttentionProblem): number {
  return pages?.stride ?? 1;
}

const SEQUENCE_FIELDS = {
  q_len: true,
  k_len: true,
  first_key: true,
  n_cached: true,
  q_base: true,
  k_base: true,
  v_base: true,
  out_base: true,
  lse_base: true,
  table_base: true,
  new_k_base: true,
  new_v_base: true,
  q_start: true,
} as const;

/** The word of each field of a `Sequence`, and how many words it has. */
export function sequencePlaces() {
  return placesOf(sequenceLayout(), SEQUENCE_FIELDS);
}

function startOf(base: number, rows: TokenRows | null | undefined, index: number, token: number): number {
  return rows ? base + index * rows.sequenceStride + token * rows.tokenStride : 0;
}

function sequenceLayout(): StructLayout {
  return structOf({ modules: [batchInfo] }, 'Sequence');
}

/** The first element of each tensor in its binding. */
export function basesOf({ q, k, v, out, lse, pages, append, turned }: AttentionProblem) {
  const base = (rows: TokenRows | null | undefined): number =>
    rows ? windowOf(rows.tensor).firstElement : 0;
  return {
    q: base(turned?.q ?? q),
    k: base(k),
    v: base(v),
    out: base(turned?.out ?? out),
    lse: base(lse),
    newK: base(append?.newK),
    newV: base(append?.newV),
    table: pages && isTensor(pages.table) ? windowOf(pages.table).firstElement : 0,
  };
}
