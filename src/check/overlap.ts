import { bytesPerElement } from '../core/dtype.js';
import { elementCount, stridesOf, type Tensor } from '../core/tensor.js';

/** One dimension of a tensor in memory, in bytes. */
interface Level {
  readonly size: number;
  readonly stride: number;
}

/**
 * Whether two tensors may share memory, each of which has no element twice. Tensors that lie among each other, as keys
 * and values of one page do, are told apart as far as their outer strides are the same.
 */
export function mayOverlap(a: Tensor, b: Tensor): boolean {
  if (a.buffer !== b.buffer || elementCount(a.shape) === 0 || elementCount(b.shape) === 0) return false;
  const distance = startOf(b) - startOf(a);
  return meet(levelsOf(a), levelsOf(b), distance);
}

function startOf({ offset = 0, dtype }: Tensor): number {
  return offset * bytesPerElement(dtype);
}

/** From the largest stride to the smallest, which is that of the bytes of an element. */
function levelsOf(tensor: Tensor): Level[] {
  const elementBytes = bytesPerElement(tensor.dtype);
  const strides = stridesOf(tensor);
  return tensor.shape
    .map((size, axis) => ({ size, stride: strides[axis]! * elementBytes }))
    .concat({ size: elementBytes, stride: 1 })
    .filter(({ size }) => size > 1)
    .toSorted((x, y) => y.stride - x.stride);
}

/** Whether an element of a is where one of b is; b begins `distance` bytes behind a. */
function meet(a: readonly Level[], b: readonly Level[], distance: number): boolean {
  const [outerA, ...innerA] = a;
  const [outerB, ...innerB] = b;
  if (!outerA || !outerB || outerA.stride !== outerB.stride)
    return distance < extent(a) && -distance < extent(b);
  const { stride } = outerA;
  // b is moved by whole strides, as often as an index of b may be ahead of one of a, to where inner parts can meet.
  const first = Math.max(Math.ceil((1 - extent(innerB) - distance) / stride), 1 - outerA.size);
  const last = Math.min(Math.floor((extent(innerA) - 1 - distance) / stride), outerB.size - 1);
  for (let ahead = first; ahead <= last; ahead++)
    if (meet(innerA, innerB, distance + ahead * stride)) return true;
  return false;
}

function extent(levels: readonly Level[]): number {
  return levels.reduce((sum, { size, stride }) => sum + (size - 1) * stride, 1);
}
