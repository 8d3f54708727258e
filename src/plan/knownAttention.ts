import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch } from '../core/dispatch.js';
import { bytesPerElement, decode, encode, type DType, type FloatDType } from '../core/dtype.js';
import type { KnownAnswer, SelfTest } from '../core/knownAnswer.js';
import { elementCount, type Tensor } from '../core/tensor.js';
import { variantName } from '../wgsl/link.js';
import { hostLengths, type AttentionProblem, type HostLengths } from '../problem/attentionProblem.js';
import { pagedRows, RAGGED, raggedRows } from '../problem/tokenRows.js';
import { planAttention } from './planAttention.js';

/** A call of attention over sequences of new tokens and keys. Each query sees keys up to its own, or all. */
interface Call {
  readonly name: string;
  readonly dtype: FloatDType;
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
  readonly numSplits?: number;
  /** Whether scores grow from key to key, so that a maximum grows many times. */
  readonly growing?: boolean;
}

/**
 * Few, small, and chosen for what a driver may get wrong: more rows and keys than a tile has, rows and dims that fill none,
 * short sequences beside long ones, pages that hold whole blocks of keys and pages that do not, maxima that grow in some
 * rows only, sums of values that are wider or narrower than keys, chunks that are merged.
 */
const CALLS: readonly Call[] = [
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
    qLens: [40],
    kLens: [170],
    pageSize: 32,
    causal: true,
  },
  {
    name: 'scores that grow',
    dtype: 'f16',
    heads: [2, 1],
    headDim: 64,
    qLens: [64],
    kLens: [260],
    growing: true,
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
    name: 'bf16',
    dtype: 'bf16',
    heads: [2, 1],
    headDim: 64,
    qLens: [33],
    kLens: [130],
    causal: true,
  },
  { name: 'f32', dtype: 'f32', heads: [2, 1], headDim: 64, qLens: [33], kLens: [130], causal: true },
];

/**
 * How far outputs, of which the largest are about 1, may be off: some times as far as they are rounded, and less than a
 * missing key makes.
 */
const TOLERANCE: Readonly<Record<FloatDType, number>> = { f16: 3e-3, bf16: 1e-2, f32: 5e-5 };

/** Plans attention: `planAttention`. */
type Plan = (
  problem: AttentionProblem<null>,
  lengths: HostLengths,
  traits: DeviceTraits,
) => readonly Dispatch[];

/** What attention must answer on a device before it may use subgroup matrices: small calls that would use them. */
export const matrixTest: SelfTest = (traits) => knownAttention(traits, planAttention);

/** Those of the calls that are planned in another way with matrices than without. */
export function* knownAttention(traits: DeviceTraits, plan: Plan): Generator<KnownAnswer> {
  for (const call of CALLS) {
    const { problem, lengths } = problemOf(call);
    const dispatches = plan(problem, lengths, traits);
    const without = plan(problem, lengths, { ...traits, tier: 'T1', matrices: null });
    if (namesOf(dispatches) !== namesOf(without)) yield answerOf(call, problem, lengths, dispatches);
  }
}

function namesOf(dispatches: readonly Dispatch[]): string {
  return dispatches.map(({ kernel, spec }) => variantName(kernel, spec)).join(' ');
}

function problemOf(call: Call): { readonly problem: AttentionProblem<null>; readonly lengths: HostLengths } {
  const { dtype, heads, headDim, headDimV = headDim, qLens, kLens, pageSize, left = -1 } = call;
  const [nHeads, nKvHeads] = heads;
  const totalQ = sumOf(qLens);
  const pages = pageSize === undefined ? null : blockTable(kLens, pageSize);
  // Behind contiguous keys there are others, which no query sees.
  const slots = pages ? [pages.nPages, pages.pageSize] : [sumOf(kLens) + 20];
  const keyRows = pages ? pagedRows : raggedRows;
  return {
    problem: {
      caller: 'a self-test',
      batch: qLens.length,
      nHeads,
      nKvHeads,
      headDim,
      headDimV,
      q: raggedRows(placeholder(dtype, [totalQ, nHeads, headDim])),
      k: keyRows(placeholder(dtype, [...slots, nKvHeads, headDim])),
      v: keyRows(placeholder(dtype, [...slots, nKvHeads, headDimV])),
      out: raggedRows(placeholder(dtype, [totalQ, nHeads, headDimV])),
      lse: RAGGED.lseRows(placeholder('f32', [nHeads, totalQ])),
      pages,
      masks: { left, right: call.causal ? 0 : -1, attentionChunk: 0 },
      // Scores are some units apart.
      softmaxScale: (call.growing ? 24 : 4) / Math.sqrt(headDim),
      softcap: 0,
      slopes: null,
      sinks: null,
      numSplits: call.numSplits ?? 1,
      append: null,
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

function answerOf(
  call: Call,
  problem: AttentionProblem<null>,
  lengths: HostLengths,
  dispatches: readonly Dispatch[],
): KnownAnswer {
  const { q, k, v, out, lse } = problem;
  const [queries, keys, values] = [q, k, v].map(({ tensor }, i) => randomNumbers(tensor, i));
  const slots = slotsOf(problem, lengths);
  const isUsed = new Uint8Array(keys!.length / problem.headDim);
  for (const ofSequence of slots) {
    for (const [j, slot] of ofSequence.entries()) {
      const [first, end] = [slot * problem.nKvHeads, (slot + 1) * problem.nKvHeads];
      isUsed.fill(1, first, end);
      if (!call.growing) continue;
      for (let i = first * problem.headDim; i < end * problem.headDim; i++)
        keys![i]! *= j / ofSequence.length;
    }
  }
  // Slots that hold nothing hold NaN.
  isUsed.forEach((used, i) => {
    if (used) return;
    keys!.fill(NaN, i * problem.headDim, (i + 1) * problem.headDim);
    values!.fill(NaN, i * problem.headDimV, (i + 1) * problem.headDimV);
  });
  const stored = [queries!, keys!, values!].map((numbers) => encode(call.dtype, numbers));
  const [rq, rk, rv] = stored.map((numbers) => decode(call.dtype, numbers));
  const expected = attend(problem, lengths, slots, { q: rq!, k: rk!, v: rv! });
  return {
    name: call.name,
    dispatches,
    inputs: new Map([q, k, v].map(({ tensor }, i) => [tensor, stored[i]!])),
    outputs: [
      { name: 'out', tensor: out.tensor, expected: expected.out, tolerance: TOLERANCE[call.dtype] },
      { name: 'lse', tensor: lse!.tensor, expected: expected.lse, tolerance: TOLERANCE[call.dtype] },
    ],
  };
}

/** Where the keys of each sequence lie, in tokens from the beginning of the tensor. */
function slotsOf({ pages }: AttentionProblem<null>, { kLen, kStart }: HostLengths): number[][] {
  return Array.from(kLen, (n, b) =>
    Array.from({ length: n }, (_, j) => {
      if (!pages) return kStart[b]! + j;
      const page = (pages.table as Int32Array)[b * pages.width + Math.floor(j / pages.pageSize)]!;
      return page * pages.pageSize + (j % pages.pageSize);
    }),
  );
}

/** Attention by its definition. */
function attend(
  { nHeads, nKvHeads, headDim, headDimV, masks, softmaxScale }: AttentionProblem<null>,
  { qLen, qStart, kLen }: HostLengths,
  slots: readonly (readonly number[])[],
  numbers: Readonly<Record<'q' | 'k' | 'v', Float32Array>>,
): { readonly out: Float64Array; readonly lse: Float64Array } {
  const totalQ = sumOf(qLen);
  const out = new Float64Array(totalQ * nHeads * headDimV);
  const lse = new Float64Array(nHeads * totalQ);
  const { q, k, v } = numbers;
  for (let b = 0; b < qLen.length; b++) {
    for (let i = 0; i < qLen[b]!; i++) {
      const position = i + kLen[b]! - qLen[b]!;
      const first = masks.left < 0 ? 0 : Math.max(0, position - masks.left);
      const end = masks.right < 0 ? kLen[b]! : position + 1;
      for (let head = 0; head < nHeads; head++) {
        const row = (qStart[b]! + i) * nHeads + head;
        const kvHead = Math.floor((head * nKvHeads) / nHeads);
        let maximum = -Infinity;
        const scores = new Float64Array(end - first);
        for (let j = first; j < end; j++) {
          const key = (slots[b]![j]! * nKvHeads + kvHead) * headDim;
          let score = 0;
          for (let d = 0; d < headDim; d++) score += q[row * headDim + d]! * k[key + d]!;
          scores[j - first] = score * softmaxScale;
          maximum = Math.max(maximum, score * softmaxScale);
        }
        const weights = scores.map((score) => Math.exp(score - maximum));
        const total = sumOf(weights);
        for (let j = first; j < end; j++) {
          const value = (slots[b]![j]! * nKvHeads + kvHead) * headDimV;
          const weight = weights[j - first]! / total;
          for (let d = 0; d < headDimV; d++) out[row * headDimV + d]! += weight * v[value + d]!;
        }
        lse[head * totalQ + qStart[b]! + i] = maximum + Math.log(total);
      }
    }
  }
  return { out, lse };
}

/** Numbers from −1 to 1 that are the same in every run. */
function randomNumbers({ shape }: Tensor, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: elementCount(shape) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** A tensor without a buffer, whose size alone is known. */
function placeholder(dtype: DType, shape: readonly number[]): Tensor {
  const size = elementCount(shape) * bytesPerElement(dtype);
  return { buffer: { size } as GPUBuffer, dtype, shape };
}

function sumOf(numbers: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < numbers.length; i++) sum += numbers[i]!;
  return sum;
}

function startsOf(lengths: readonly number[]): Int32Array {
  let sum = 0;
  return Int32Array.from(lengths, (n) => (sum += n) - n);
}
