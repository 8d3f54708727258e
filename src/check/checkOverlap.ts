import { bytesPerElement } from '../core/dtype.js';
import { elementCount, isTensor, sameNumbers, stridesOf, type Tensor } from '../core/tensor.js';
import type { Call } from './call.js';
import { inBrackets } from './checkTensor.js';

/** Checks that no two elements of a tensor that is written share their memory. */
export function checkNoOverlapWithin(call: Call, name: string, tensor: Tensor): void {
  if (elementCount(tensor.shape) === 0) return;
  let taken = 1;
  for (const { size, stride } of levelsOf(tensor, 1).toReversed()) {
    if (stride < taken)
      call.refuse('shape', `elements of ${name} overlap: its strides are ${inBrackets(stridesOf(tensor))}.`);
    taken += (size - 1) * stride;
  }
}

/**
 * Checks that a tensor which a dispatch writes is in another buffer than all tensors that it reads, as WebGPU demands.
 *
 * @param read values by argument name; those that are no tensors do not matter
 * @param toMove which of the two the error says to put elsewhere
 */
export function checkOwnBuffer(
  call: Call,
  name: string,
  written: Tensor,
  read: Readonly<Record<string, unknown>>,
  toMove: 'written' | 'read' = 'written',
): void {
  for (const [readName, value] of Object.entries(read)) {
    if (!isTensor(value) || value.buffer !== written.buffer) continue;
    const moving = toMove === 'read' ? readName : name;
    call.refuse(
      'buffer',
      `${name} is in the same buffer as ${readName}. WebGPU cannot read and write a buffer in one dispatch: give ${moving} a buffer of its own.`,
    );
  }
}

/**
 * Whether values are some neighbouring elements of each key: then both lie in one buffer with the same strides, and each
 * value within its key.
 */
export function isViewOfKeys(values: Tensor, keys: Tensor): boolean {
  const [ofKeys, ofValues] = [stridesOf(keys), stridesOf(values)];
  const places = keys.shape.slice(0, -1);
  const [headDim, headDimV] = [keys.shape.at(-1)!, values.shape.at(-1)!];
  const first = (values.offset ?? 0) - (keys.offset ?? 0);
  return (
    values.buffer === keys.buffer &&
    values.dtype === keys.dtype &&
    sameNumbers(values.shape.slice(0, -1), places) &&
    places.every((size, axis) => size <= 1 || ofKeys[axis] === ofValues[axis]) &&
    first >= 0 &&
    first + headDimV <= headDim
  );
}

/** Whether the scales of values are those of keys from one on, likewise in one buffer with the same strides. */
export function areScalesOfView(ofValues: Tensor, ofKeys: Tensor, first: number): boolean {
  const [stridesOfKeys, stridesOfValues] = [stridesOf(ofKeys), stridesOf(ofValues)];
  return (
    ofValues.buffer === ofKeys.buffer &&
    ofValues.dtype === ofKeys.dtype &&
    (ofValues.offset ?? 0) === (ofKeys.offset ?? 0) + first &&
    ofValues.shape.every((size, axis) => size <= 1 || stridesOfKeys[axis] === stridesOfValues[axis])
  );
}

/** One dimension of a tensor in memory, in units that no element is smaller than. */
interface Level {
  readonly size: number;
  readonly stride: number;
}

/**
 * Whether two tensors may share memory, each of which has no element twice. Interleaved tensors, such as the keys and
 * values of one page, are told apart as far as their outer strides are the same.
 */
export function mayOverlap(a: Tensor, b: Tensor): boolean {
  if (a.buffer !== b.buffer || elementCount(a.shape) === 0 || elementCount(b.shape) === 0) return false;
  // In half bytes, of which an i4 has one.
  const [sizeA, sizeB] = [2 * bytesPerElement(a.dtype), 2 * bytesPerElement(b.dtype)];
  const distance = (b.offset ?? 0) * sizeB - (a.offset ?? 0) * sizeA;
  return meet(levelsOf(a, sizeA), levelsOf(b, sizeB), distance);
}

/** From the largest stride to the smallest, which is that of the units of an element. */
function levelsOf(tensor: Tensor, elementSize: number): Level[] {
  const strides = stridesOf(tensor);
  return tensor.shape
    .map((size, axis) => ({ size, stride: strides[axis]! * elementSize }))
    .concat({ size: elementSize, stride: 1 })
    .filter(({ size }) => size > 1)
    .toSorted((x, y) => y.stride - x.stride);
}

/** Whether an element of a is where one of b is; b begins `distance` units after a. */
function meet(a: readonly Level[], b: readonly Level[], distance: number): boolean {
  const [outerA, ...innerA] = a;
  const [outerB, ...innerB] = b;
  if (!outerA || !outerB || outerA.stride !== outerB.stride)
    return distance < extent(a) && -distance < extent(b);
  const { stride } = outerA;
  // Move b by whole strides, as often as an index of b may be ahead of one of a, to where inner parts can meet.
  const first = Math.max(Math.ceil((1 - extent(innerB) - distance) / stride), 1 - outerA.size);
  const last = Math.min(Math.floor((extent(innerA) - 1 - distance) / stride), outerB.size - 1);
  for (let ahead = first; ahead <= last; ahead++)
    if (meet(innerA, innerB, distance + ahead * stride)) return true;
  return false;
}

function extent(levels: readonly Level[]): number {
  return levels.reduce((sum, { size, stride }) => sum + (size - 1) * stride, 1);
}
