import { bytesPerElement, isQuantised, type FloatDType } from '../../core/dtype.js';
import { isTensor, windowOf, type Tensor } from '../../core/tensor.js';
import type { PagedRows, TokenRows } from '../../problem/attentionProblem.js';
import { constantOf } from '../../wgsl/reflection.js';
import elements from './elements.wgsl?module';

/** Numbers that a kernel binds; those on the host are 32-bit. */
type Numbers = Tensor | Int32Array | Float32Array | null | undefined;

/** F32, F16 or BF16 of elements.wgsl, for kernels that take any of them at run time. */
export function dtypeCode(numbers: Numbers): number {
  const name = numbers && isTensor(numbers) ? numbers.dtype.toUpperCase() : 'F32';
  return constantOf({ modules: [elements] }, name);
}

/** The first element in what a kernel binds. */
export function firstElementOf(numbers: Numbers): number {
  return numbers && isTensor(numbers) ? windowOf(numbers).firstElement : 0;
}

/** Elements in the 16 bytes that a kernel reads at a time. */
export function wideElements(dtype: FloatDType): number {
  return 16 / bytesPerElement(dtype);
}

/** Whether all rows of a tensor can be read 16 bytes at a time; of a quantised cache, eight elements at a time. */
export function isWide(rows: TokenRows | PagedRows, headDim: number): boolean {
  const { dtype } = rows.tensor;
  return hasMultiplesOf(isQuantised(dtype) ? 8 : wideElements(dtype as FloatDType), rows, headDim);
}

/** Whether every row of a tensor starts at a multiple of `n` elements and is a multiple of `n` long. */
export function hasMultiplesOf(n: number, rows: TokenRows | PagedRows, headDim: number): boolean {
  const page = 'pageStride' in rows ? rows.pageStride : 0;
  const steps = [
    headDim,
    rows.sequenceStride,
    rows.tokenStride,
    rows.headStride,
    page,
    windowOf(rows.tensor).firstElement,
  ];
  return steps.every((step) => step % n === 0);
}

/** The conditions of out_rows for a kernel that writes rows of a type, as they are in f32. `wide`: four elements at a time. */
export function outConditions(dtype: FloatDType, wide: boolean) {
  return {
    OUT_F16: dtype === 'f16',
    OUT_BF16: dtype === 'bf16',
    OUT_HALVES: dtype !== 'f32',
    OUT_WIDE: wide,
    OUT_CONVERTED: false,
    OUT_BOUNDED: false,
    OUT_OCTETS: false,
    PADDED: false,
  };
}
