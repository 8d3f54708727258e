import { stridesOf, type Tensor } from '../core/tensor.js';
import type { PagedRows, TokenRows } from './attentionProblem.js';

/** [B, tokens, heads, dims] */
export function denseRows(tensor: Tensor): PagedRows {
  const [sequence, token, head] = stridesOf(tensor) as [number, number, number];
  return { tensor, page: 0, sequence, token, head };
}

/** [tokens, heads, dims] */
export function raggedRows(tensor: Tensor): PagedRows {
  const [token, head] = stridesOf(tensor) as [number, number];
  return { tensor, page: 0, sequence: 0, token, head };
}

/** [pages, slots, heads, dims] */
export function pagedRows(tensor: Tensor): PagedRows {
  const [page, token, head] = stridesOf(tensor) as [number, number, number];
  return { tensor, page, sequence: 0, token, head };
}

/** [B, heads, tokens] */
function denseLse(tensor: Tensor): TokenRows {
  const [sequence, head, token] = stridesOf(tensor) as [number, number, number];
  return { tensor, sequence, token, head };
}

/** [heads, tokens] */
function raggedLse(tensor: Tensor): TokenRows {
  const [head, token] = stridesOf(tensor) as [number, number];
  return { tensor, sequence: 0, token, head };
}

/** How the tokens of q, of out and of lse lie. */
export interface QueryLayout {
  /** What comes before the heads of q and out, in the words of the documentation. */
  readonly tokens: readonly ('B' | 'Sq' | 'totalQ')[];
  readonly lse: readonly string[];
  /** Sizes of lse, from those of q or out. */
  readonly lseSizes: (shape: readonly number[]) => number[];
  readonly rows: (tensor: Tensor) => PagedRows;
  readonly lseRows: (tensor: Tensor) => TokenRows;
}

/** A batch of equally many tokens each. */
export const DENSE: QueryLayout = {
  tokens: ['B', 'Sq'],
  lse: ['B', 'Hq', 'Sq'],
  lseSizes: ([batch, nTokens, nHeads]) => [batch!, nHeads!, nTokens!],
  rows: denseRows,
  lseRows: denseLse,
};

/** Sequences end to end. */
export const RAGGED: QueryLayout = {
  tokens: ['totalQ'],
  lse: ['Hq', 'totalQ'],
  lseSizes: ([nTokens, nHeads]) => [nHeads!, nTokens!],
  rows: raggedRows,
  lseRows: raggedLse,
};
