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
export function denseLse(tensor: Tensor): TokenRows {
  const [sequence, head, token] = stridesOf(tensor) as [number, number, number];
  return { tensor, sequence, token, head };
}

/** [heads, tokens] */
export function raggedLse(tensor: Tensor): TokenRows {
  const [head, token] = stridesOf(tensor) as [number, number];
  return { tensor, sequence: 0, token, head };
}
