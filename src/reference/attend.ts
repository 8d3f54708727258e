import { roundTo } from '../core/dtype.js';
import { PageflashError } from '../core/errors.js';
import { elementCount } from '../core/tensor.js';
import { isFullFor } from './blockMask.js';
import { addedTo, type KeyRowOptions } from './keyRows.js';
import { lastSizes, NO_ROW, type HostFloats, type HostTensor } from './hostTensor.js';
import { modified, type ModOptions } from './mods.js';
import { eachKey, seenKeys, type MaskOptions } from './masks.js';
import { tokenRow, type TokenOptions, type TokenRow } from './tokens.js';

/** The arguments that all attention functions share. */
export interface AttentionOptions extends MaskOptions, KeyRowOptions, TokenOptions, ModOptions {
  /** Default 1/√D. */
  readonly softmaxScale?: number | undefined;
  /** c: scores become c·tanh(s/c); 0 for no cap. Default 0. */
  readonly softcap?: number | undefined;
  /** [Hq], or [B, Hq] row after row: −slope·|p − j| is added to the scores. */
  readonly alibiSlopes?: HostFloats | undefined;
  /** `[Hq]`: one more score per head, which counts in the denominator only; −∞ for a head without a sink. */
  readonly sinks?: HostFloats | undefined;
  /**
   * Computes as a program that stores its tensors in this type: matrix products are summed in f32; scores, each step of
   * softcap, probabilities and outputs are rounded to the type. Default: f64 throughout.
   */
  readonly storage?: 'f16' | 'bf16' | undefined;
}

/** What all attention functions return. */
export interface AttentionResult {
  /** Shaped like q, with the head size of v. */
  readonly out: HostTensor;
  /** ln Σ exp(score), with the sink; −∞ for a row without keys and sink. */
  readonly lse: HostTensor;
}

/** One sequence of a batch: its rows of q, and its rows of k and v. */
export interface Sequence {
  /** Row of q, counted in tokens, of its first query. */
  readonly firstQuery: number;
  readonly nQueries: number;
  /** Key j is row keyRows[j] of k and v, counted in tokens. If that is NO_ROW, no query sees it. */
  readonly keyRows: Int32Array;
  /** Keys at the start that no query sees. */
  readonly leftpad: number;
  /** The index of query i of a head in lse. */
  readonly lseIndex: (head: number, i: number) => number;
}

interface AttendArgs {
  /** [..., Hq, D] */
  readonly q: HostTensor;
  /** [..., Hkv, D] */
  readonly k: HostTensor;
  /** [..., Hkv, Dv] */
  readonly v: HostTensor;
  readonly sequences: readonly Sequence[];
  readonly lseShape: readonly number[];
  readonly options: AttentionOptions;
}

/**
 * Returns attention by its definition, one query row at a time. With query i at p = i + nKeys − nQueries, or where tokens.ts
 * has it and keys, over visible j:
 *
 *     s_j = scoreMod(softcap(scale · q·k_j) − slope·|p − j| + bias_j)
 *     lse = ln(exp(sink) + Σ_j exp(s_j))
 *     out = Σ_j exp(s_j − lse) · v_j
 */
export function attend({ q, k, v, sequences, lseShape, options }: AttendArgs): AttentionResult {
  const [nHeads, headDim] = lastSizes(q);
  const [nKvHeads, headDimV] = lastSizes(v);
  const group = nHeads / nKvHeads;
  if (nHeads % nKvHeads !== 0)
    throw new PageflashError('shape', `${nHeads} query heads are not a multiple of ${nKvHeads} kv heads.`);
  const { alibiSlopes, sinks } = options;
  const { addScaled, store } = arithmeticOf(options.storage);
  const scoreOf = scoring(headDim, options);

  const nRows = elementCount(q.shape.slice(0, -1));
  const out = new Float64Array(nRows * headDimV);
  const lse = new Float64Array(nRows).fill(-Infinity);

  sequences.forEach(({ firstQuery, nQueries, keyRows, lseIndex }, sequence) => {
    const nKeys = keyRows.length;
    const scores = new Float64Array(nKeys);
    const query = new Float64Array(headDim);

    let keys: Float64Array = new Float64Array(0);
    let values = keys;
    for (let head = 0; head < nHeads; head++) {
      if (head % group === 0) {
        keys = gather(k, keyRows, head / group);
        values = gather(v, keyRows, head / group);
      }
      const slope = slopeOf(alibiSlopes, sequence, head, nHeads);
      const sink = sinks?.[head] ?? -Infinity;

      for (let i = 0; i < nQueries; i++) {
        const row = (firstQuery + i) * nHeads + head;
        const place = rowOf(sequences[sequence]!, i, options, nRows / nHeads);
        const { ranges } = place;
        const which = { sequence, firstQuery, i, head };
        const added = addedTo(options, which);
        const isFull = isFullFor(options.blockMask, which);
        const becomes = modified(options, { sequence, head, isFull, ...place });
        const at = { p: place.p, positionOf: place.positionOf, slope };
        query.set(q.data.subarray(row * headDim, (row + 1) * headDim));

        let largest = sink;
        eachKey(ranges, (j) => {
          const more = keyRows[j] === NO_ROW || !place.sees(j) ? -Infinity : added(j);
          const score = more === -Infinity ? more : scoreOf(query, keys, j, at) + more;
          scores[j] = becomes(score, j);
          largest = Math.max(largest, scores[j]!);
        });
        if (largest === -Infinity) continue; // no keys: out 0, lse −∞

        let sum = Math.exp(sink - largest);
        eachKey(ranges, (j) => {
          scores[j] = Math.exp(scores[j]! - largest);
          sum += scores[j]!;
        });
        lse[lseIndex(head, i)] = largest + Math.log(sum);

        const outRow = out.subarray(row * headDimV, (row + 1) * headDimV);
        eachKey(ranges, (j) => {
          // What is hidden may be NaN.
          if (scores[j] !== 0) addScaled(outRow, store(scores[j]! / sum), values, j * headDimV);
        });
        for (let d = 0; d < headDimV; d++) outRow[d] = store(outRow[d]!);
      }
    }
  });

  return {
    out: { data: out, shape: [...q.shape.slice(0, -1), headDimV] },
    lse: { data: lse, shape: lseShape },
  };
}

/** The keys of query i of a sequence; where tokens.ts has nothing of it, it is at p = i + nKeys − nQueries, and key j at j. */
export function rowOf(sequence: Sequence, i: number, options: AttentionOptions, nTokens: number): TokenRow {
  if (options.positions || options.treeMask) return tokenRow(sequence, i, options, nTokens);
  const { nQueries, keyRows, leftpad } = sequence;
  const p = i + keyRows.length - nQueries;
  const ranges = seenKeys(p, keyRows.length, leftpad, options);
  return { p, ranges, sees: () => true, positionOf: (j) => j };
}

/** Where a row stands among its keys, and how its scores fall with distance. */
interface RowPlace extends Pick<TokenRow, 'p' | 'positionOf'> {
  readonly slope: number;
}

/** Returns what computes the score of a query [D] and key j of keys [nKeys, D]: s_j. */
export function scoring(
  headDim: number,
  { softmaxScale = 1 / Math.sqrt(headDim), softcap = 0, storage }: AttentionOptions,
): (query: Float64Array, keys: Float64Array, j: number, place: RowPlace) => number {
  const { dot, store } = arithmeticOf(storage);
  return (query, keys, j, { p, positionOf, slope }) => {
    const score = store(softmaxScale * dot(query, keys, j * headDim));
    const capped = softcap > 0 ? store(softcap * store(Math.tanh(store(score / softcap)))) : score;
    return capped - slope * Math.abs(p - positionOf(j));
  };
}

/** Returns the given rows of one kv head, one after another: [rows, D], zeros for NO_ROW. */
export function gather(tensor: HostTensor, rows: Int32Array, kvHead: number): Float64Array {
  const [nKvHeads, headDim] = lastSizes(tensor);
  const gathered = new Float64Array(rows.length * headDim);
  rows.forEach((row, j) => {
    if (row === NO_ROW) return;
    const from = (row * nKvHeads + kvHead) * headDim;
    gathered.set(tensor.data.subarray(from, from + headDim), j * headDim);
  });
  return gathered;
}

export function slopeOf(
  slopes: HostFloats | undefined,
  sequence: number,
  head: number,
  nHeads: number,
): number {
  if (slopes === undefined) return 0;
  return slopes.length === nHeads ? slopes[head]! : slopes[sequence * nHeads + head]!;
}

/** The precision of a computation: how products are summed, and how a result is rounded when it is stored. */
interface Arithmetic {
  /** Σ_d a[d] · b[bOffset + d] over the length of a. */
  readonly dot: (a: Float64Array, b: Float64Array, bOffset: number) => number;
  /** sum[d] += weight · values[offset + d] over the length of sum. */
  readonly addScaled: (sum: Float64Array, weight: number, values: Float64Array, offset: number) => void;
  /** Rounds what is stored: scores, steps of softcap, probabilities, outputs. */
  readonly store: (x: number) => number;
}

/** Returns f64 arithmetic, or that of a program which sums in f32 and stores every tensor in a 16-bit type. */
function arithmeticOf(storage: 'f16' | 'bf16' | undefined): Arithmetic {
  if (storage === undefined) return { dot: dotF64, addScaled: addScaledF64, store: (x) => x };
  return { dot: dotF32, addScaled: addScaledF32, store: (x) => roundTo(storage, x) };
}

// Dot products have four running sums, since with one each addition would wait for the one before. Matrix units have
// several as well, so this order is as good a model of them as any.

function dotF64(a: Float64Array, b: Float64Array, bOffset: number): number {
  let sum0 = 0;
  let sum1 = 0;
  let sum2 = 0;
  let sum3 = 0;
  let d = 0;
  for (; d + 3 < a.length; d += 4) {
    const from = bOffset + d;
    sum0 += a[d]! * b[from]!;
    sum1 += a[d + 1]! * b[from + 1]!;
    sum2 += a[d + 2]! * b[from + 2]!;
    sum3 += a[d + 3]! * b[from + 3]!;
  }
  for (; d < a.length; d++) sum0 += a[d]! * b[bOffset + d]!;
  return sum0 + sum1 + (sum2 + sum3);
}

function dotF32(a: Float64Array, b: Float64Array, bOffset: number): number {
  const { fround } = Math;
  let sum0 = 0;
  let sum1 = 0;
  let sum2 = 0;
  let sum3 = 0;
  let d = 0;
  for (; d + 3 < a.length; d += 4) {
    const from = bOffset + d;
    sum0 = fround(sum0 + a[d]! * b[from]!);
    sum1 = fround(sum1 + a[d + 1]! * b[from + 1]!);
    sum2 = fround(sum2 + a[d + 2]! * b[from + 2]!);
    sum3 = fround(sum3 + a[d + 3]! * b[from + 3]!);
  }
  for (; d < a.length; d++) sum0 = fround(sum0 + a[d]! * b[bOffset + d]!);
  return fround(fround(sum0 + sum1) + fround(sum2 + sum3));
}

function addScaledF64(sum: Float64Array, weight: number, values: Float64Array, offset: number): void {
  for (let d = 0; d < sum.length; d++) sum[d]! += weight * values[offset + d]!;
}

function addScaledF32(sum: Float64Array, weight: number, values: Float64Array, offset: number): void {
  for (let d = 0; d < sum.length; d++) sum[d] = Math.fround(sum[d]! + weight * values[offset + d]!);
}
