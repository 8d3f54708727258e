import { bytesPerElement, type DType } from './dtype.js';

/**
 * A view of numbers in a GPU buffer: a plain object that owns nothing.
 *
 * @example
 * const q: Tensor = { buffer, dtype: 'f16', shape: [totalQ, 32, 128] };
 */
export interface Tensor {
  readonly buffer: GPUBuffer;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Elements before the first one. Default 0. */
  readonly offset?: number;
  /** Elements from one index to the next, per dimension. Default contiguous; the last is 1. */
  readonly strides?: readonly number[];
}

/** Integers, on the GPU (i32 or u32) or on the host. */
export type Ints = Tensor | Int32Array | Uint32Array | readonly number[];

/** Real numbers, on the GPU (f32) or on the host. */
export type Floats = Tensor | Float32Array | readonly number[];

export function isTensor(value: unknown): value is Tensor {
  return typeof value === 'object' && value !== null && 'buffer' in value && 'shape' in value;
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((count, size) => count * size, 1);
}

export function contiguousStrides(shape: readonly number[]): number[] {
  const strides = Array.from(shape, () => 1);
  for (let axis = shape.length - 2; axis >= 0; axis--) strides[axis] = strides[axis + 1]! * shape[axis + 1]!;
  return strides;
}

export function stridesOf(tensor: Tensor): readonly number[] {
  return tensor.strides ?? contiguousStrides(tensor.shape);
}

/** Whether two lists have the same numbers. */
export function sameNumbers(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Whether two tensors are the same view of the same memory. */
export function sameView(a: Tensor, b: Tensor): boolean {
  return (
    a.buffer === b.buffer &&
    a.dtype === b.dtype &&
    (a.offset ?? 0) === (b.offset ?? 0) &&
    sameNumbers(a.shape, b.shape) &&
    sameNumbers(stridesOf(a), stridesOf(b))
  );
}

/** Elements from the first to one past the last that the view can touch; 0 for an empty view. */
export function extentOf(tensor: Tensor): number {
  if (elementCount(tensor.shape) === 0) return 0;
  const strides = stridesOf(tensor);
  return tensor.shape.reduce((last, size, axis) => last + (size - 1) * strides[axis]!, 1);
}

/** The size of a buffer or binding for so many bytes: whole words, and never nothing. */
export function wholeWords(bytes: number): number {
  return Math.max(4, Math.ceil(bytes / 4) * 4);
}

/** Bytes from the start of the buffer to one past the last element that the view can touch. */
export function endBytes(tensor: Tensor): number {
  return ((tensor.offset ?? 0) + extentOf(tensor)) * bytesPerElement(tensor.dtype);
}
