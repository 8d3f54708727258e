import { bytesPerElement, type FloatDType } from '../../core/dtype.js';
import { windowOf } from '../../core/tensor.js';
import type { PagedRows, TokenRows } from '../../problem/attentionProblem.js';

/** Elements in the 16 bytes that a kernel reads at a time. */
export function wideElements(dtype: FloatDType): number {
  return 16 / bytesPerElement(dtype);
}

/** Whether all rows of a tensor can be read 16 bytes at a time. */
export function isWide(rows: TokenRows | PagedRows, headDim: number): boolean {
  return hasMultiplesOf(wideElements(rows.tensor.dtype as FloatDType), rows, headDim);
}

/** Whether every row of a tensor starts at a multiple of `n` elements and is a multiple of `n` long. */
export function hasMultiplesOf(n: number, rows: TokenRows | PagedRows, headDim: number): boolean {
  const page = 'page' in rows ? rows.page : 0;
  const steps = [headDim, rows.sequence, rows.token, rows.head, page, windowOf(rows.tensor).firstElement];
  return steps.every((step) => step % n === 0);
}
