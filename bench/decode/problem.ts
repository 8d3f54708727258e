import { denseRows, pagedRows } from '../../src/problem/rows.js';
import type { Tensor } from '../../src/core/tensor.js';
import { hostLengths, type AttentionProblem, type HostLengths } from '../../src/problem/attentionProblem.js';
import { PAGE_SIZE, type DecodeCase } from './shapes.js';

export interface DecodeTensors {
  /** [B, 1, Hq, D] */
  readonly q: Tensor;
  /** [P, PAGE_SIZE, Hkv, D] */
  readonly kCache: Tensor;
  readonly vCache: Tensor;
  /** [B, 1, Hq, D] */
  readonly out: Tensor;
}

/** Pages of keys and values, and which of them each sequence has. */
export interface Pages {
  readonly nPages: number;
  /** [B, width], row after row */
  readonly table: Int32Array;
  readonly width: number;
}

export interface DecodeProblem {
  readonly problem: AttentionProblem;
  readonly lengths: HostLengths;
}

/** What `attnWithKvCache` plans for a case, to look into its plan or to plan otherwise. */
export function decodeProblem(
  { nHeads, nKvHeads, headDim, keys }: DecodeCase,
  { q, kCache, vCache, out }: DecodeTensors,
  { nPages, table, width }: Pages,
): DecodeProblem {
  const batch = keys.length;
  return {
    problem: {
      caller: 'attnWithKvCache',
      batch,
      nHeads,
      nKvHeads,
      headDim,
      headDimV: headDim,
      q: denseRows(q),
      k: pagedRows(kCache),
      v: pagedRows(vCache),
      out: denseRows(out),
      lse: null,
      pages: { pageSize: PAGE_SIZE, nPages, table, nRows: batch, width, stride: width },
      masks: { left: -1, right: 0, attentionChunk: 0 },
      softmaxScale: 1 / Math.sqrt(headDim),
      softcap: 0,
      slopes: null,
      sinks: null,
      numSplits: 0,
      append: null,
    },
    lengths: hostLengths({ qLen: new Int32Array(batch).fill(1), kLen: Int32Array.from(keys) }),
  };
}
