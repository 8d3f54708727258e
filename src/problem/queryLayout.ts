import type { Tensor } from '../core/tensor.js';
import type { PagedRows, TokenRows } from './attentionProblem.js';
import { denseLse, denseRows, raggedLse, raggedRows } from './rows.js';

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
