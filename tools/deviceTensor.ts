import {
  bytesPerElement,
  decode,
  encode,
  type DType,
  type FloatDType,
  type QuantisedDType,
} from '../src/core/dtype.js';
import { unpackCodes } from '../src/core/kvFormats.js';
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

/** A tensor of these numbers in a buffer of its own. Gaps that strides or an offset leave hold NaN, which shows if read. */
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
  // Numbers in f32 are encoded faster, and others keep their digits.
  const Numbers = values instanceof Float32Array ? Float32Array : Float64Array;
  const placed = new Numbers(bytes / bytesPerElement(dtype)).fill(isInt ? -1 : NaN);
  forEachElement(tensor, (at, i) => {
    placed[at] = values[i]!;
  });
  const stored = isInt ? Int32Array.from(placed) : encode(dtype as FloatDType, placed);
  const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
  const buffer = device.createBuffer({ size: bytes, usage: STORAGE | COPY_SRC | COPY_DST });
  device.queue.writeBuffer(buffer, 0, stored as Int32Array<ArrayBuffer>);
  return { ...tensor, buffer };
}

/**
 * A tensor of a quantised type: `bytes` are its elements end to end. Gaps have all bits set, which is NaN in e4m3.
 */
export function uploadCodes(
  device: GPUDevice,
  dtype: QuantisedDType,
  shape: readonly number[],
  bytes: Uint8Array,
  { offset = 0, strides = contiguousStrides(shape) }: Placement = {},
): Tensor {
  const tensor: Tensor = { buffer: undefined as unknown as GPUBuffer, dtype, shape, offset, strides };
  const bits = 8 * bytesPerElement(dtype);
  const perByte = 8 / bits;
  const placed = new Uint8Array(wholeWords(endBytes(tensor))).fill(0xff);
  const mask = (1 << bits) - 1;
  forEachElement(tensor, (at, i) => {
    const code = (bytes[Math.floor(i / perByte)]! >> ((i % perByte) * bits)) & mask;
    const byte = Math.floor(at / perByte);
    const shift = (at % perByte) * bits;
    placed[byte] = (placed[byte]! & ~(mask << shift)) | (code << shift);
  });
  const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
  const buffer = device.createBuffer({ size: placed.length, usage: STORAGE | COPY_SRC | COPY_DST });
  device.queue.writeBuffer(buffer, 0, placed);
  return { ...tensor, buffer };
}

/** The elements of a floating-point tensor, in order. */
export async function download(device: GPUDevice, tensor: Tensor): Promise<Float32Array<ArrayBuffer>> {
  const all = await downloadAll(device, tensor);
  const values = new Float32Array(elementCount(tensor.shape));
  forEachElement(tensor, (at, i) => {
    values[i] = all[at]!;
  });
  return values;
}

/** The codes of a tensor of a quantised type, in order. */
export async function downloadCodes(device: GPUDevice, tensor: Tensor): Promise<Float32Array<ArrayBuffer>> {
  const bytes = new Uint8Array(await downloadBuffer(device, tensor.buffer));
  const all = unpackCodes(tensor.dtype as QuantisedDType, bytes);
  const codes = new Float32Array(elementCount(tensor.shape));
  forEachElement(tensor, (at, i) => {
    codes[i] = all[at]!;
  });
  return codes;
}

/** The contents of the tensor's buffer before, between and after its elements. */
export async function downloadGaps(device: GPUDevice, tensor: Tensor): Promise<Float32Array<ArrayBuffer>> {
  const all = await downloadAll(device, tensor);
  const isOwned = new Uint8Array(all.length);
  forEachElement(tensor, (at) => (isOwned[at] = 1));
  return all.filter((_, at) => !isOwned[at]);
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
  const last = shape.length - 1;
  const [length, stride] = last < 0 ? [1, 0] : [shape[last]!, strides[last]!];
  const index = shape.map(() => 0);
  let row = offset;
  for (let i = 0; i < n;) {
    for (let element = 0, at = row; element < length; element++, at += stride) visit(at, i++);
    for (let axis = last - 1; axis >= 0; axis--) {
      row += strides[axis]!;
      index[axis]!++;
      if (index[axis]! < shape[axis]!) break;
      row -= shape[axis]! * strides[axis]!;
      index[axis] = 0;
    }
  }
}
