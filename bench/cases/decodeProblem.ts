import type { Tensor } from '../../src/core/tensor.js';
import {
  hostLengths,
  NO_MASKS,
  type AttentionProblem,
  type HostLengths,
} from '../../src/problem/attentionProblem.js';
import { denseRows, pagedRows } from '../../src/problem/tokenRows.js';
import { Random } from '../../tools/random.js';
import type { DecodeCase } from './cases.js';
import { PAGE_SIZE } from './shapes.js';

export interface DecodeTensors {
  /** [B, 1, Hq, D] */
  readonly q: Tensor;
  /** [P, PAGE_SIZE, Hkv, D] */
  readonly kCache: Tensor;
  /** [P, PAGE_SIZE, Hkv, Dv] */
  readonly vCache: Tensor;
  /** [B, 1, Hq, Dv] */
  readonly out: Tensor;
}

/** A pool of pages that holds exactly the sequences of a step, and their block table. */
export interface DecodePages {
  readonly nPages: number;
  /** [B, width], row after row, −1 for padding */
  readonly blockTable: Int32Array;
  readonly width: number;
}

/** A decode step as the planner takes it. */
export interface DecodeProblem {
  readonly problem: AttentionProblem;
  readonly lengths: HostLengths;
}

/** The problem that `attnWithKvCache` plans for a case, for counting what its plan moves or for planning it otherwise. */
export function decodeProblem(
  { nHeads, nKvHeads, headDim, headDimV = headDim, keys }: DecodeCase,
  { q, kCache, vCache, out }: DecodeTensors,
  { nPages, blockTable, width }: DecodePages,
): DecodeProblem {
  const batch = keys.length;
  return {
    problem: {
      caller: 'attnWithKvCache',
      batch,
      nHeads,
      nKvHeads,
      headDim,
      headDimV,
      q: denseRows(q),
      k: pagedRows(kCache),
      v: pagedRows(vCache),
      out: denseRows(out),
      lse: null,
      pages: { pageSize: PAGE_SIZE, nPages, table: blockTable, nRows: batch, width, stride: width },
      scales: null,
      masks: { ...NO_MASKS, right: 0 },
      softmaxScale: 1 / Math.sqrt(headDim),
      softcap: 0,
      slopes: null,
      sinks: null,
      mask: null,
      bias: null,
      mods: null,
      blocks: null,
      numSplits: 0,
      append: null,
      sharedPrefix: null,
    },
    lengths: hostLengths({ qLen: new Int32Array(batch).fill(1), kLen: Int32Array.from(keys) }),
  };
}

/** As many pages as the sequences need, handed out in random order, the same in every run. */
export function shuffledPages({ keys }: Pick<DecodeCase, 'keys'>): DecodePages {
  const pagesOf = keys.map((nKeys) => Math.ceil(nKeys / PAGE_SIZE));
  const nPages = pagesOf.reduce((total, n) => total + n, 0);
  const width = Math.max(...pagesOf);
  const order = new Random(nPages).permutation(nPages);
  const blockTable = new Int32Array(keys.length * width).fill(-1);
  let taken = 0;
  pagesOf.forEach((n, b) => {
    blockTable.set(order.subarray(taken, taken + n), b * width);
    taken += n;
  });
  return { nPages, blockTable, width };
}
