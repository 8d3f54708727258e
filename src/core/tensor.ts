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

/** Real numbers, on the GPU (f32, f16 or bf16) or on the host. */
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

/** Whether two lists have the same numbers in the same order. */
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

/** Returns how many elements lie from the first to the last of a view, both included; 0 for an empty view. */
export function extentOf({ shape, strides }: Tensor): number {
  let count = 1;
  for (let axis = 0; axis < shape.length; axis++) count *= shape[axis]!;
  if (!strides || count === 0) return count;
  let extent = 1;
  for (let axis = 0; axis < shape.length; axis++) extent += (shape[axis]! - 1) * strides[axis]!;
  return extent;
}

/** Rounds bytes up to whole words of 4, and to at least one, as WebGPU demands of buffers and bindings. */
export function wholeWords(bytes: number): number {
  return Math.max(4, Math.ceil(bytes / 4) * 4);
}

/** Returns the bytes from the start of the buffer to the end of the view's last element. */
export function endBytes(tensor: Tensor): number {
  return Math.ceil(((tensor.offset ?? 0) + extentOf(tensor)) * bytesPerElement(tensor.dtype));
}

/** The range of a buffer that a kernel binds to reach a tensor. */
export interface TensorWindow {
  /** Bytes; a multiple of `WINDOW_ALIGNMENT`, as bindings demand. */
  readonly offset: number;
  /** Bytes; a multiple of 4. */
  readonly size: number;
  /** The tensor's first element, counted from the window's start. */
  readonly firstElement: number;
}

/** Bytes: WebGPU's default `minStorageBufferOffsetAlignment`, which is also the most that a device may ask for. */
export const WINDOW_ALIGNMENT = 256;

/** Returns the smallest window that holds all elements of a tensor. */
export function windowOf(tensor: Tensor): TensorWindow {
  const elementBytes = bytesPerElement(tensor.dtype);
  const start = (tensor.offset ?? 0) * elementBytes;
  const offset = start - (start % WINDOW_ALIGNMENT);
  const size = wholeWords(endBytes(tensor) - offset);
  return { offset, size, firstElement: (start - offset) / elementBytes };
}
