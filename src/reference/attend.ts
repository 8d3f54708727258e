import { PageflashError } from '../core/errors.js';
import { elementCount } from '../core/tensor.js';
import { arithmeticOf } from './arithmetic.js';
import { lastSizes, type HostFloats, type HostTensor } from './hostTensor.js';
import { NO_ROW } from './keyRows.js';
import { visibleKeys, type MaskOptions } from './mask.js';

/** The arguments that all attention functions share. */
export interface AttentionOptions extends MaskOptions {
  /** Default 1/√D. */
  readonly softmaxScale?: number | undefined;
  /** c: scores become c·tanh(s/c); 0 = off. Default 0. */
  readonly softcap?: number | undefined;
  /** [Hq], or [B, Hq] row after row: −slope·|p − j| is added to the scores. */
  readonly alibiSlopes?: HostFloats | undefined;
  /** [Hq]: one more score per head that joins the denominator only; −∞ for a head without one. */
  readonly sinks?: HostFloats | undefined;
  /**
   * Computes as a program would that keeps its tensors in this type: matrix products accumulate in f32; scores,
   * each softcap step, probabilities and outputs are rounded to the type. Without it: f64 throughout.
   */
  readonly storage?: 'f16' | 'bf16' | undefined;
}

export interface AttentionResult {
  /** Shaped like q, with the head size of v. */
  readonly out: HostTensor;
  /** ln Σ exp(score), the sink included; −∞ for a row without keys and sink. */
  readonly lse: HostTensor;
}

/** One sequence of a batch: which rows of q and of k and v are its own. */
export interface Sequence {
  /** Row of q, counted in tokens, of its first query. */
  readonly firstQuery: number;
  readonly nQueries: number;
  /** Key j lies in row keyRows[j] of k and v, counted in tokens; no query sees it where that is NO_ROW. */
  readonly keyRows: Int32Array;
  /** Keys at the start that no query sees. */
  readonly leftpad: number;
  /** Where the lse of a head's query i goes. */
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
 * Attention by its definition, one query row at a time. With query i at p = i + nKeys − nQueries, over visible j:
 *
 *     s_j = softcap(scale · q·k_j) − slope·|p − j|
 *     lse = ln(exp(sink) + Σ_j exp(s_j))
 *     out = Σ_j exp(s_j − lse) · v_j
 */
export function attend({ q, k, v, sequences, lseShape, options }: AttendArgs): AttentionResult {
  const [nHeads, headDim] = lastSizes(q);
  const [nKvHeads, headDimV] = lastSizes(v);
  const group = nHeads / nKvHeads;
  if (nHeads % nKvHeads !== 0)
    throw new PageflashError('shape', `${nHeads} query heads are not a multiple of ${nKvHeads} kv heads.`);
  const { softmaxScale = 1 / Math.sqrt(headDim), softcap = 0, alibiSlopes, sinks } = options;
  const { dot, addScaled, store } = arithmeticOf(options.storage);

  const nRows = elementCount(q.shape.slice(0, -1));
  const out = new Float64Array(nRows * headDimV);
  const lse = new Float64Array(nRows).fill(-Infinity);

  sequences.forEach(({ firstQuery, nQueries, keyRows, leftpad, lseIndex }, sequence) => {
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
        const p = i + nKeys - nQueries;
        const { begin, end } = visibleKeys(p, nKeys, leftpad, options);
        query.set(q.data.subarray(row * headDim, (row + 1) * headDim));

        let largest = sink;
        for (let j = begin; j < end; j++) {
          scores[j] = -Infinity;
          if (keyRows[j] === NO_ROW) continue;
          let score = store(softmaxScale * dot(query, keys, j * headDim));
          if (softcap > 0) score = store(softcap * store(Math.tanh(store(score / softcap))));
          score -= slope * Math.abs(p - j);
          scores[j] = score;
          largest = Math.max(largest, score);
        }
        if (largest === -Infinity) continue; // nothing to see: out 0, lse −∞

        let sum = Math.exp(sink - largest);
        for (let j = begin; j < end; j++) {
          scores[j] = Math.exp(scores[j]! - largest);
          sum += scores[j]!;
        }
        lse[lseIndex(head, i)] = largest + Math.log(sum);

        const outRow = out.subarray(row * headDimV, (row + 1) * headDimV);
        for (let j = begin; j < end; j++) addScaled(outRow, store(scores[j]! / sum), values, j * headDimV);
        for (let d = 0; d < headDimV; d++) outRow[d] = store(outRow[d]!);
      }
    }
  });

  return {
    out: { data: out, shape: [...q.shape.slice(0, -1), headDimV] },
    lse: { data: lse, shape: lseShape },
  };
}

/** The given rows of one kv head, one after another: [rows, D]. Zeros where there is no row. */
function gather(tensor: HostTensor, rows: Int32Array, kvHead: number): Float64Array {
  const [nKvHeads, headDim] = lastSizes(tensor);
  const gathered = new Float64Array(rows.length * headDim);
  rows.forEach((row, j) => {
    if (row === NO_ROW) return;
    const from = (row * nKvHeads + kvHead) * headDim;
    gathered.set(tensor.data.subarray(from, from + headDim), j * headDim);
  });
  return gathered;
}

function slopeOf(slopes: HostFloats | undefined, sequence: number, head: number, nHeads: number): number {
  if (slopes === undefined) return 0;
  return slopes.length === nHeads ? slopes[head]! : slopes[sequence * nHeads + head]!;
}
