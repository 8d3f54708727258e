import { bytesPerElement } from './dtype.js';
import { endBytes, wholeWords, type Tensor } from './tensor.js';

/** The part of a buffer that a kernel binds to reach a tensor. */
export interface TensorWindow {
  /** Bytes; a multiple of `WINDOW_ALIGNMENT`, as bindings demand. */
  readonly offset: number;
  /** Bytes; a multiple of 4. */
  readonly size: number;
  /** The tensor's first element, counted from the window's start. */
  readonly firstElement: number;
}

/** What WebGPU's default `minStorageBufferOffsetAlignment` asks for; no device may ask for more. */
export const WINDOW_ALIGNMENT = 256;

export function windowOf(tensor: Tensor): TensorWindow {
  const elementBytes = bytesPerElement(tensor.dtype);
  const start = (tensor.offset ?? 0) * elementBytes;
  const offset = start - (start % WINDOW_ALIGNMENT);
  const size = wholeWords(endBytes(tensor) - offset);
  return { offset, size, firstElement: (start - offset) / elementBytes };
}
