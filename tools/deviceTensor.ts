import { bytesPerElement, decode, encode, type DType, type FloatDType } from '../src/core/dtype.js';
import {
  contiguousStrides,
  elementCount,
  endBytes,
  stridesOf,
  wholeWords,
  type Tensor,
} from '../src/core/tensor.js';

export interface Placement {
  /** Elements before the first one. */
  readonly offset?: number;
  /** Elements from one index to the next, per dimension. Default contiguous. */
  readonly strides?: readonly number[];
}

/** Upload numbers; a gap that strides or an offset leave holds NaN, so that whoever reads it is found out. */
export function upload(
  device: GPUDevice,
  dtype: DType,
  shape: readonly number[],
  values: ArrayLike<number>,
  { offset = 0, strides = contiguousStrides(shape) }: Placement = {},
): Tensor {
  const tensor: Tensor = { buffer: undefined as unknown as GPUBuffer, dtype, shape, offset, strides };
  const bytes = wholeWords(endBytes(tensor));
  const isInt = dtype === 'i32' || dtype === 'u32';
  const placed: number[] | Float64Array = new Float64Array(bytes / bytesPerElement(dtype)).fill(
    isInt ? -1 : NaN,
  );
  forEachElement(tensor, (at, i) => {
    placed[at] = values[i]!;
  });
  const stored = isInt ? Int32Array.from(placed) : encode(dtype as FloatDType, placed);
  const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
  const buffer = device.createBuffer({ size: bytes, usage: STORAGE | COPY_SRC | COPY_DST });
  device.queue.writeBuffer(buffer, 0, stored as Int32Array<ArrayBuffer>);
  return { ...tensor, buffer };
}

/** The elements of a tensor of reals, in order. */
export async function download(device: GPUDevice, tensor: Tensor): Promise<Float32Array<ArrayBuffer>> {
  const all = await downloadAll(device, tensor);
  const values = new Float32Array(elementCount(tensor.shape));
  forEachElement(tensor, (at, i) => {
    values[i] = all[at]!;
  });
  return values;
}

/** What lies in the tensor's buffer before, between and behind its elements. */
export async function downloadGaps(device: GPUDevice, tensor: Tensor): Promise<number[]> {
  const all = await downloadAll(device, tensor);
  const owned = new Set(placesOf(tensor));
  return [...all].filter((_, at) => !owned.has(at));
}

async function downloadAll(device: GPUDevice, { buffer, dtype }: Tensor): Promise<Float32Array<ArrayBuffer>> {
  const bytes = await downloadBuffer(device, buffer);
  return decode(dtype as FloatDType, dtype === 'f32' ? new Float32Array(bytes) : new Uint16Array(bytes));
}

export async function downloadBuffer(device: GPUDevice, buffer: GPUBuffer): Promise<ArrayBuffer> {
  const { COPY_DST, MAP_READ } = GPUBufferUsage;
  const readback = device.createBuffer({ size: buffer.size, usage: COPY_DST | MAP_READ });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, readback, 0, buffer.size);
  device.queue.submit([encoder.finish()]);
  await readback.mapAsync(GPUMapMode.READ);
  const bytes = readback.getMappedRange().slice(0);
  readback.destroy();
  return bytes;
}

/** Where each element of a tensor is in its buffer. */
export function placesOf(tensor: Tensor): number[] {
  const places: number[] = [];
  forEachElement(tensor, (at) => places.push(at));
  return places;
}

/** Calls back with the place of each element in the buffer and its number in order. */
function forEachElement(tensor: Tensor, visit: (at: number, i: number) => void): void {
  const { shape, offset = 0 } = tensor;
  const strides = stridesOf(tensor);
  const n = elementCount(shape);
  const index = shape.map(() => 0);
  let at = offset;
  for (let i = 0; i < n; i++) {
    visit(at, i);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis]!;
      index[axis]!++;
      if (index[axis]! < shape[axis]!) break;
      at -= shape[axis]! * strides[axis]!;
      index[axis] = 0;
    }
  }
}
