import { bytesPerElement, decode, encode, type FloatDType } from '../../src/core/dtype.js';
import { PageManager, type PageSnapshot } from '../../src/index.js';
import { Random } from '../../tools/random.js';
import { cumulative, totalKeys, totalQueries, type Settings } from './settings.js';

/** Vectors [tokens, heads, dims] as they are stored: f16 and bf16 as bits. */
export interface Rows {
  readonly dtype: FloatDType;
  readonly nHeads: number;
  readonly headDim: number;
  readonly data: Stored;
}

export type Stored = Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;

export interface Inputs {
  readonly q: Rows;
  readonly k: Rows;
  readonly v: Rows;
  /** [B + 1] */
  readonly cuSeqlensQ: Int32Array<ArrayBuffer>;
  readonly cuSeqlensK: Int32Array<ArrayBuffer>;
  /** Pages of the keys; null if keys and values are contiguous. */
  readonly pages: AllocatedPages | null;
}

/**
 * Random queries, keys and values, the same for the same seed. A wave of the position is added to queries and keys, so that,
 * as in a trained model, some heads attend to near keys, some to keys at intervals and some to any keys.
 */
export function createInputs(settings: Settings): Inputs {
  const { nHeads, nKvHeads, headDim, dtype, sequences, seed } = settings;
  const random = new Random(seed);
  const qPositions = sequences.flatMap(({ nQueries, nKeys }) =>
    Array.from({ length: nQueries }, (_, i) => i + nKeys - nQueries),
  );
  const kPositions = sequences.flatMap(({ nKeys }) => Array.from({ length: nKeys }, (_, j) => j));
  const group = Math.max(1, Math.floor(nHeads / nKvHeads));
  const rows = (nRowHeads: number, positions: readonly number[], wave?: Wave): Rows => {
    const shape = { nHeads: nRowHeads, headDim };
    return { ...shape, dtype, data: stored(dtype, createRows(random, shape, positions, wave)) };
  };
  return {
    q: rows(nHeads, qPositions, { kvHeadOf: (head) => Math.floor(head / group), gains: [1, 1.5, 0.4, 0] }),
    k: rows(nKvHeads, kPositions, { kvHeadOf: (head) => head, gains: [1] }),
    v: rows(nKvHeads, kPositions),
    cuSeqlensQ: cumulative(sequences.map(({ nQueries }) => nQueries)),
    cuSeqlensK: cumulative(sequences.map(({ nKeys }) => nKeys)),
    pages: settings.pageSize > 0 ? allocatePages(settings) : null,
  };
}

/** Bytes of each tensor of a run, the largest first. */
export function tensorBytes(
  settings: Settings,
): readonly { readonly name: string; readonly bytes: number }[] {
  const { nHeads, nKvHeads, headDim, dtype, sequences, pageSize } = settings;
  const slots =
    pageSize > 0
      ? sequences.reduce((total, { nKeys }) => total + Math.ceil(nKeys / pageSize) * pageSize, 0)
      : totalKeys(settings);
  const rowBytes = headDim * bytesPerElement(dtype);
  const queries = totalQueries(settings) * nHeads * rowBytes;
  const keys = slots * nKvHeads * rowBytes;
  return [
    { name: 'The queries', bytes: queries },
    { name: 'The keys', bytes: keys },
    { name: 'The values', bytes: keys },
    { name: 'The output', bytes: queries },
  ].toSorted((a, b) => b.bytes - a.bytes);
}

/** One head of one token, as f32: [headDim]. */
export function rowOf(
  { dtype, nHeads, headDim, data }: Rows,
  token: number,
  head: number,
): Float32Array<ArrayBuffer> {
  const start = (token * nHeads + head) * headDim;
  return decode(dtype, data.subarray(start, start + headDim));
}

/** The rows of tokens first ... end − 1. */
export function tokensOf({ nHeads, headDim, data }: Rows, first: number, end: number): Stored {
  return data.subarray(first * nHeads * headDim, end * nHeads * headDim);
}

/** Keys and values in their pages, [nPages, pageSize, heads, dims]. Slots that hold no token hold NaN. */
export function scatterToPages(
  { k, v, cuSeqlensK }: Inputs,
  { nPages, blockTable }: AllocatedPages,
  { pageSize, sequences }: Settings,
): { readonly k: Stored; readonly v: Stored } {
  const width = blockTable.length / sequences.length;
  const scatter = (rows: Rows): Stored => {
    const pages = filledWithNaN(rows.dtype, nPages * pageSize * rows.nHeads * rows.headDim);
    sequences.forEach(({ nKeys }, b) => {
      for (let first = 0; first < nKeys; first += pageSize) {
        const page = blockTable[b * width + first / pageSize]!;
        const start = cuSeqlensK[b]! + first;
        const tokens = tokensOf(rows, start, Math.min(start + pageSize, cuSeqlensK[b + 1]!));
        pages.set(tokens, page * pageSize * rows.nHeads * rows.headDim);
      }
    });
    return pages;
  };
  return { k: scatter(k), v: scatter(v) };
}

/** A pool of pages whose pages are allocated to the sequences. */
export interface AllocatedPages {
  readonly nPages: number;
  /** [B, width] */
  readonly blockTable: Int32Array<ArrayBuffer>;
  readonly snapshot: PageSnapshot;
}

/** Pages that a sequence gets in a turn. */
const PAGES_A_TURN = 2;
/** Distance between the token ids of two sequences: longer than any sequence, so that they share no prefix. */
const TOKEN_ID_STRIDE = 2 ** 20;

/** Allocate pages for all keys in turns, a few to each sequence, as chats that grow side by side would get them. */
function allocatePages({ sequences, pageSize }: Pick<Settings, 'sequences' | 'pageSize'>): AllocatedPages {
  const nPages = sequences.reduce((total, { nKeys }) => total + Math.ceil(nKeys / pageSize), 0);
  const pages = new PageManager({ nPages: Math.max(1, nPages), pageSize });
  const ids = sequences.map(({ nKeys }, b) =>
    pages.add(Int32Array.from({ length: nKeys }, (_, j) => b * TOKEN_ID_STRIDE + j)),
  );
  let growing = ids;
  while (growing.length > 0) {
    for (const id of growing) {
      pages.reserve(id, PAGES_A_TURN * pageSize);
      pages.commit(id);
    }
    growing = growing.filter((id) => pages.nToCompute(id) > 0);
  }
  const { blockTable } = pages.batch(ids);
  return { nPages: pages.nPages, blockTable: blockTable.slice(), snapshot: pages.snapshot() };
}

interface Wave {
  readonly kvHeadOf: (head: number) => number;
  /** Strength of the wave in heads 0, 1, ...; repeats after the last. */
  readonly gains: readonly number[];
}

/** Pairs of dims that carry the wave, and what the wave adds to the score of the key at the query's own position. */
const WAVE_PAIRS = 4;
const WAVE_SCORE = 3;

function createRows(
  random: Random,
  { nHeads, headDim }: Pick<Rows, 'nHeads' | 'headDim'>,
  positions: readonly number[],
  wave?: Wave,
): Float32Array<ArrayBuffer> {
  const values = new Float32Array(positions.length * nHeads * headDim);
  for (let i = 0; i < values.length; i++) values[i] = random.normal();
  if (!wave || headDim < 2 * WAVE_PAIRS) return values;

  const amplitude = Math.sqrt((WAVE_SCORE * Math.sqrt(headDim)) / WAVE_PAIRS);
  positions.forEach((position, token) => {
    for (let head = 0; head < nHeads; head++) {
      const gain = amplitude * wave.gains[head % wave.gains.length]!;
      const row = (token * nHeads + head) * headDim;
      for (let pair = 0; pair < WAVE_PAIRS; pair++) {
        const angle = position * frequency(wave.kvHeadOf(head), pair);
        values[row + 2 * pair]! += gain * Math.cos(angle);
        values[row + 2 * pair + 1]! += gain * Math.sin(angle);
      }
    }
  });
  return values;
}

/** Frequency of the wave, in radians per token. */
function frequency(kvHead: number, pair: number): number {
  return 0.5 / (1 + (kvHead % 4)) / 3 ** pair;
}

function stored(dtype: FloatDType, values: Float32Array<ArrayBuffer>): Stored {
  return dtype === 'f32' ? values : encode(dtype, values);
}

function filledWithNaN(dtype: FloatDType, count: number): Stored {
  return dtype === 'f32' ? new Float32Array(count).fill(NaN) : new Uint16Array(count).fill(0x7fff);
}
