import type { HostTensor } from '../../src/reference/attention.js';
import { Random } from '../../tools/random.js';
import { createInput, type Input } from '../input.js';
import type { Pages } from './problem.js';
import { PAGE_SIZE, type DecodeCase } from './shapes.js';

export interface DecodeInputs {
  /** [B, 1, Hq, D] */
  readonly q: Input;
  /** [P, PAGE_SIZE, Hkv, D] */
  readonly kCache: Input;
  readonly vCache: Input;
}

/** The same numbers in every run. */
export function createDecodeInputs(
  device: GPUDevice,
  { nHeads, nKvHeads, headDim, keys, dtype }: DecodeCase,
  { nPages }: Pages,
): DecodeInputs {
  const random = new Random(nPages);
  const create = (shape: readonly number[]): Input => createInput(device, random, shape, dtype);
  const pages = [nPages, PAGE_SIZE, nKvHeads, headDim];
  return { q: create([keys.length, 1, nHeads, headDim]), kCache: create(pages), vCache: create(pages) };
}

/** As many pages as the sequences need, in random order. */
export function shuffledPages({ keys }: Pick<DecodeCase, 'keys'>): Pages {
  const pagesOf = keys.map((nKeys) => Math.ceil(nKeys / PAGE_SIZE));
  const nPages = pagesOf.reduce((total, n) => total + n, 0);
  const width = Math.max(...pagesOf);
  const order = new Random(nPages).permutation(nPages);
  const table = new Int32Array(keys.length * width).fill(-1);
  let taken = 0;
  pagesOf.forEach((n, b) => {
    table.set(order.subarray(taken, taken + n), b * width);
    taken += n;
  });
  return { nPages, table, width };
}

/** One of the queries, all heads of it: [1, Hq, D]. */
export function queryOf({ q }: DecodeInputs, sequence: number): HostTensor {
  const [, , nHeads, headDim] = q.host.shape as [number, number, number, number];
  const size = nHeads * headDim;
  return { data: q.host.data.subarray(sequence * size, (sequence + 1) * size), shape: [1, nHeads, headDim] };
}
