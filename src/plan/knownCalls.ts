import { bytesPerElement, type DType, type FloatDType } from '../core/dtype.js';
import { scalesPerHead } from '../core/kvFormats.js';
import { elementCount, type Tensor } from '../core/tensor.js';
import {
  hostLengths,
  NO_MASKS,
  type AttentionProblem,
  type HostLengths,
} from '../problem/attentionProblem.js';
import { pagedRows, RAGGED, raggedRows } from '../problem/tokenRows.js';

/** A call of attention over sequences of new tokens and keys. Each query sees keys up to its own, or all. */
export interface KnownCall {
  readonly name: string;
  readonly dtype: FloatDType;
  /** A quantised cache, with scales of f16. Default: k and v are of `dtype`. */
  readonly kvDType?: 'i8' | 'i4';
  /** Whether queries and outputs are f32 in its stead, as where heads are turned. */
  readonly turned?: boolean;
  /** Query heads and kv heads. */
  readonly heads: readonly [number, number];
  readonly headDim: number;
  readonly headDimV?: number;
  readonly qLens: readonly number[];
  readonly kLens: readonly number[];
  /** Default: keys are contiguous. */
  readonly pageSize?: number;
  /** Keys before its own that a query sees. Default: all. */
  readonly left?: number;
  readonly causal?: boolean;
  /** Default true: scales and pages leave a device of eight storage buffers none for it. */
  readonly returnLse?: boolean;
  readonly numSplits?: number;
  /**
   * How scores grow from key to key, so that their maximum grows many times: `linear` with keys, or `exponential` with keys
   * and values, which then have many magnitudes.
   */
  readonly growth?: 'linear' | 'exponential';
}

/**
 * Few, small, and chosen for what a driver may get wrong: more rows and keys than a tile has, rows and dims that fill none,
 * short sequences beside long ones, pages that hold whole blocks of keys and pages that do not, maxima that grow in some
 * rows only, sums of values that are wider or narrower than keys, chunks that are merged, codes and scales, and operands in
 * two parts, of which a compiler may think that the second is nothing.
 */
export const KNOWN_CALLS: readonly KnownCall[] = [
  {
    name: 'heads of 40, three a kv head, sequences of 1 to 140 keys',
    dtype: 'f16',
    heads: [6, 2],
    headDim: 40,
    qLens: [30, 3, 50, 1],
    kLens: [140, 3, 97, 1],
    causal: true,
  },
  {
    name: 'pages of 5 and a window',
    dtype: 'f16',
    heads: [2, 2],
    headDim: 64,
    qLens: [40, 33],
    kLens: [150, 75],
    pageSize: 5,
    left: 50,
    causal: true,
  },
  {
    name: 'pages of 32, four heads of 128 a kv head',
    dtype: 'f16',
    heads: [4, 1],
    headDim: 128,
    qLens: [20],
    kLens: [170],
    pageSize: 32,
    causal: true,
  },
  {
    name: 'scores that grow',
    dtype: 'f16',
    heads: [2, 1],
    headDim: 64,
    qLens: [40],
    kLens: [260],
    growth: 'linear',
  },
  {
    name: 'keys of 192 and values of 128 in two chunks',
    dtype: 'f16',
    heads: [4, 2],
    headDim: 192,
    headDimV: 128,
    qLens: [24],
    kLens: [140],
    causal: true,
    numSplits: 2,
  },
  {
    name: 'one and two tokens of eight heads',
    dtype: 'f16',
    heads: [8, 1],
    headDim: 128,
    qLens: [1, 1, 2],
    kLens: [150, 7, 200],
    pageSize: 16,
    causal: true,
  },
  {
    name: 'bf16 of many magnitudes',
    dtype: 'bf16',
    heads: [2, 1],
    headDim: 64,
    qLens: [33],
    kLens: [260],
    growth: 'exponential',
  },
  {
    name: 'i8 of many magnitudes in pages of 3',
    dtype: 'f16',
    kvDType: 'i8',
    heads: [4, 2],
    headDim: 64,
    qLens: [20, 9],
    kLens: [140, 40],
    pageSize: 3,
    returnLse: false,
    growth: 'exponential',
  },
  {
    name: 'turned i4',
    dtype: 'f16',
    kvDType: 'i4',
    turned: true,
    heads: [2, 1],
    headDim: 64,
    qLens: [33],
    kLens: [130],
    causal: true,
  },
  { name: 'f32', dtype: 'f32', heads: [2, 1], headDim: 64, qLens: [33], kLens: [130], causal: true },
];

/** What a call computes, with placeholders for its tensors. */
export function problemOf(call: KnownCall): {
  readonly problem: AttentionProblem<null>;
  readonly lengths: HostLengths;
} {
  const { dtype, kvDType, heads, headDim, headDimV = headDim, qLens, kLens, pageSize, left = -1 } = call;
  const [nHeads, nKvHeads] = heads;
  const totalQ = sumOf(qLens);
  const pages = pageSize === undefined ? null : blockTable(kLens, pageSize);
  // Behind contiguous keys there are others, which no query sees.
  const slots = pages ? [pages.nPages, pages.pageSize] : [sumOf(kLens) + 20];
  const keyRows = pages ? pagedRows : raggedRows;
  const rowsOf = (type: FloatDType, size: number) => raggedRows(placeholder(type, [totalQ, nHeads, size]));
  const keysOf = (size: number) => keyRows(placeholder(kvDType ?? dtype, [...slots, nKvHeads, size]));
  const scalesOf = (type: 'i8' | 'i4', size: number) =>
    keyRows(placeholder('f16', [...slots, nKvHeads, scalesPerHead(type, size)]));
  const inside = call.turned ? 'f32' : dtype;
  return {
    problem: {
      caller: 'a self-test',
      batch: qLens.length,
      nHeads,
      nKvHeads,
      headDim,
      headDimV,
      q: rowsOf(inside, headDim),
      k: keysOf(headDim),
      v: keysOf(headDimV),
      out: rowsOf(inside, headDimV),
      ...(call.turned && { turned: { q: rowsOf(dtype, headDim), out: rowsOf(dtype, headDimV) } }),
      lse: call.returnLse === false ? null : RAGGED.lseRows(placeholder('f32', [nHeads, totalQ])),
      pages,
      scales: kvDType
        ? { per: 'token', k: scalesOf(kvDType, headDim), v: scalesOf(kvDType, headDimV) }
        : null,
      masks: { ...NO_MASKS, left, right: call.causal ? 0 : -1 },
      // Scores are some units apart.
      softmaxScale: (call.growth ? 24 : 4) / Math.sqrt(headDim),
      softcap: 0,
      slopes: null,
      sinks: null,
      mask: null,
      bias: null,
      mods: null,
      blocks: null,
      numSplits: call.numSplits ?? 1,
      append: null,
      sharedPrefix: null,
    },
    lengths: hostLengths({
      qLen: Int32Array.from(qLens),
      kLen: Int32Array.from(kLens),
      qStart: startsOf(qLens),
      ...(!pages && { kStart: startsOf(kLens) }),
    }),
  };
}

/** Pages of each sequence, in no order, and one that no sequence has. */
function blockTable(kLens: readonly number[], pageSize: number): NonNullable<AttentionProblem['pages']> {
  const nPagesOf = kLens.map((n) => Math.ceil(n / pageSize));
  const nPages = sumOf(nPagesOf) + 1;
  const width = Math.max(...nPagesOf);
  const table = new Int32Array(kLens.length * width);
  // Multiples of a number that has no common factor with another run through all remainders.
  const step = [7, 11, 13].find((prime) => nPages % prime !== 0)!;
  let n = 1;
  nPagesOf.forEach((count, b) => {
    for (let i = 0; i < count; i++) table[b * width + i] = (step * n++) % nPages;
  });
  return { pageSize, nPages, table, nRows: kLens.length, width, stride: width };
}

/** A tensor without a buffer, whose size alone is known. */
function placeholder(dtype: DType, shape: readonly number[]): Tensor {
  const size = elementCount(shape) * bytesPerElement(dtype);
  return { buffer: { size } as GPUBuffer, dtype, shape };
}

export function sumOf(numbers: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < numbers.length; i++) sum += numbers[i]!;
  return sum;
}

function startsOf(lengths: readonly number[]): Int32Array {
  let sum = 0;
  return Int32Array.from(lengths, (n) => (sum += n) - n);
}
