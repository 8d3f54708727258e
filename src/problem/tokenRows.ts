import { stridesOf, type Tensor } from '../core/tensor.js';
import type { PagedRows, TokenRows } from './attentionProblem.js';

/** [B, tokens, heads, dims] */
export function denseRows(tensor: Tensor): PagedRows {
  const [sequence, token, head] = stridesOf(tensor) as [number, number, number];
  return { tensor, pageStride: 0, sequenceStride: sequence, tokenStride: token, headStride: head };
}

/** [tokens, heads, dims] */
export function raggedRows(tensor: Tensor): PagedRows {
  const [token, head] = stridesOf(tensor) as [number, number];
  return { tensor, pageStride: 0, sequenceStride: 0, tokenStride: token, headStride: head };
}

/** [pages, slots, heads, dims] */
export function pagedRows(tensor: Tensor): PagedRows {
  const [page, token, head] = stridesOf(tensor) as [number, number, number];
  return { tensor, pageStride: page, sequenceStride: 0, tokenStride: token, headStride: head };
}

/** [B or 1, heads or 1, tokens, keys]: dimensions of size 1 are shared by all. */
function denseKeyRows(tensor: Tensor): TokenRows {
  const [sequence, head, token] = sharedStrides(tensor) as [number, number, number];
  return { tensor, sequenceStride: sequence, tokenStride: token, headStride: head };
}

/** [heads or 1, tokens, keys], likewise. */
function raggedKeyRows(tensor: Tensor): TokenRows {
  const [head, token] = sharedStrides(tensor) as [number, number];
  return { tensor, sequenceStride: 0, tokenStride: token, headStride: head };
}

function sharedStrides(tensor: Tensor): readonly number[] {
  return stridesOf(tensor).map((stride, axis) => (tensor.shape[axis] === 1 ? 0 : stride));
}

/** [B, heads, tokens] */
function denseLse(tensor: Tensor): TokenRows {
  const [sequence, head, token] = stridesOf(tensor) as [number, number, number];
  return { tensor, sequenceStride: sequence, tokenStride: token, headStride: head };
}

/** [heads, tokens] */
function raggedLse(tensor: Tensor): TokenRows {
  const [head, token] = stridesOf(tensor) as [number, number];
  return { tensor, sequenceStride: 0, tokenStride: token, headStride: head };
}

/** Layout of the tokens of q, out and lse. */
export interface QueryLayout {
  /** The dimensions of q and out before the heads, as the documentation names them. */
  readonly tokens: readonly ('B' | 'Sq' | 'totalQ')[];
  readonly lse: readonly string[];
  /** Sizes of lse, from those of q or out. */
  readonly lseSizes: (shape: readonly number[]) => number[];
  readonly rows: (tensor: Tensor) => PagedRows;
  readonly lseRows: (tensor: Tensor) => TokenRows;
  /** The dimensions of `mask` and `bias` before that of the keys. */
  readonly keyDims: readonly ('B' | 'Hq' | 'Sq' | 'totalQ')[];
  readonly keyRows: (tensor: Tensor) => TokenRows;
}

/** A dense batch: each sequence has as many tokens. */
export const DENSE: QueryLayout = {
  tokens: ['B', 'Sq'],
  lse: ['B', 'Hq', 'Sq'],
  lseSizes: ([batch, nTokens, nHeads]) => [batch!, nHeads!, nTokens!],
  rows: denseRows,
  lseRows: denseLse,
  keyDims: ['B', 'Hq', 'Sq'],
  keyRows: denseKeyRows,
};

/** A ragged batch: the tokens of all sequences concatenated. */
export const RAGGED: QueryLayout = {
  tokens: ['totalQ'],
  lse: ['Hq', 'totalQ'],
  lseSizes: ([nTokens, nHeads]) => [nHeads!, nTokens!],
  rows: raggedRows,
  lseRows: raggedLse,
  keyDims: ['Hq', 'totalQ'],
  keyRows: raggedKeyRows,
};
