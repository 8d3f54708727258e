import { attnReference, type AttentionOptions, type AttentionResult } from '../../src/reference/attention.js';
import { rowsOf, tensor, unitMatrix } from './hostTensors.js';

export interface ByHand extends AttentionOptions {
  readonly q: readonly number[];
  readonly k: readonly number[];
  readonly v: readonly number[];
}

/** One sequence and one head of size 1, so that with the default scale a score is the product of two numbers. */
export function attnByHand({ q, k, v, ...options }: ByHand): AttentionResult {
  return attnReference({
    q: tensor([1, q.length, 1, 1], q),
    k: tensor([1, k.length, 1, 1], k),
    v: tensor([1, v.length, 1, 1], v),
    ...options,
  });
}

/** The weight of each key for each query: the values are the rows of the unit matrix, so out has the weights. */
export function weightsByHand({ q, k, ...options }: Omit<ByHand, 'v'>): number[][] {
  const { out } = attnReference({
    q: tensor([1, q.length, 1, 1], q),
    k: tensor([1, k.length, 1, 1], k),
    v: unitMatrix([1, k.length, 1, k.length]),
    ...options,
  });
  return rowsOf(out);
}

/** One line per query, with an x for every key that it sees. */
export function seen(nQueries: number, nKeys: number, options: AttentionOptions): string[] {
  const q = Array<number>(nQueries).fill(0);
  const k = Array<number>(nKeys).fill(0);
  return picture(weightsByHand({ q, k, ...options }));
}

export function picture(weights: readonly number[][]): string[] {
  return weights.map((row) => row.map((weight) => (weight > 0 ? 'x' : '.')).join(''));
}
