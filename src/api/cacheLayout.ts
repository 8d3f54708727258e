import { bytesPerElement } from '../core/dtype.js';
import { WINDOW_ALIGNMENT } from '../core/tensorWindow.js';
import type { CacheShape } from '../sizing/kvCache.js';

/** The pages of one layer's keys or values, how they lie in memory. */
export interface PageLayout {
  /** Elements of a page. */
  readonly elements: number;
  /** Elements from one page to the next. */
  readonly stride: number;
  /** Bytes from one page to the next: a multiple of 16, so that every page can be read 16 bytes at a time. */
  readonly strideBytes: number;
}

const PAGE_ALIGNMENT = 16;

export function pageLayouts(cache: Required<CacheShape>, pageSize: number) {
  const { nKvHeads, headDim, headDimV, dtype } = cache;
  const elementBytes = bytesPerElement(dtype);
  const layout = (dim: number): PageLayout => {
    const elements = pageSize * nKvHeads * dim;
    const strideBytes = roundUp(elements * elementBytes, PAGE_ALIGNMENT);
    return { elements, stride: strideBytes / elementBytes, strideBytes };
  };
  return { k: layout(headDim), v: layout(headDimV) };
}

/** Where tensors lie in as many buffers as they need. */
export interface Packing {
  /** Bytes of each buffer. */
  readonly buffers: readonly number[];
  /** Of each tensor. */
  readonly places: readonly Place[];
}

export interface Place {
  readonly buffer: number;
  /** Bytes; a multiple of `WINDOW_ALIGNMENT`, as of bindings. */
  readonly offset: number;
}

/** Packs tensors of so many bytes, each at most `maxBufferBytes`, into few buffers: the largest first, each where it fits. */
export function packTensors(tensorBytes: readonly number[], maxBufferBytes: number): Packing {
  const buffers: number[] = [];
  const places: Place[] = [];
  const largestFirst = tensorBytes
    .map((bytes, tensor) => ({ bytes, tensor }))
    .toSorted((a, b) => b.bytes - a.bytes);
  for (const { bytes, tensor } of largestFirst) {
    const fits = buffers.findIndex((used) => roundUp(used, WINDOW_ALIGNMENT) + bytes <= maxBufferBytes);
    const buffer = fits < 0 ? buffers.length : fits;
    const offset = roundUp(buffers[buffer] ?? 0, WINDOW_ALIGNMENT);
    places[tensor] = { buffer, offset };
    buffers[buffer] = offset + bytes;
  }
  return { buffers, places };
}
