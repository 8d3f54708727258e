import { Call } from '../check/call.js';
import { checkForm, checkMemory, listed } from '../check/checkTensor.js';
import {
  bytesPerElement,
  decode,
  FLOATS,
  INTS,
  isQuantised,
  QUANTISED,
  type DType,
  type FloatDType,
  type QuantisedDType,
} from '../core/dtype.js';
import { unpackCodes } from '../core/kvFormats.js';
import { elementCount, endBytes, extentOf, stridesOf, wholeWords, type Tensor } from '../core/tensor.js';
import type { Runtime } from '../runtime/runtime.js';

/**
 * Reads a tensor of f32, f16 or bf16, row-major, for any offset and strides: the numbers as they are after all work
 * submitted before the call. Work submitted later does not wait, and does not affect them. Of i8, i4 and e4m3 it reads the
 * numbers before they are multiplied by their scale.
 *
 * A staging buffer is needed, as large as the range from the first to the last element. The tensor's buffer needs the
 * usage COPY_SRC, which buffers made by pageflash have.
 *
 * @throws PageflashError `dtype` for integers, see `readInts`; `buffer` or `shape` for a tensor that cannot be read;
 * `limit` without memory for the staging buffer; `device` if the device is lost; also an error of the device about work
 * submitted before, as `runtime.done()` throws it
 * @example
 * const { out } = attn(runtime, { q, k, v });
 * console.log(await read(runtime, out));
 */
export async function read(runtime: Runtime, tensor: Tensor): Promise<Float32Array<ArrayBuffer>> {
  const dtype = tensor?.dtype as FloatDType;
  const stored = await storedNumbers(runtime, tensor, {
    caller: 'read',
    dtypes: [...FLOATS, ...QUANTISED],
    instead: 'readInts',
  });
  return stored instanceof Float32Array ? stored : decode(dtype, stored as Uint16Array);
}

/**
 * Reads a tensor of i32 or u32, as `read` reads those of other types.
 *
 * @throws PageflashError as `read` does
 */
export function readInts(
  runtime: Runtime,
  tensor: Tensor & { readonly dtype: 'i32' },
): Promise<Int32Array<ArrayBuffer>>;
export function readInts(
  runtime: Runtime,
  tensor: Tensor & { readonly dtype: 'u32' },
): Promise<Uint32Array<ArrayBuffer>>;
export function readInts(
  runtime: Runtime,
  tensor: Tensor,
): Promise<Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>>;
export async function readInts(
  runtime: Runtime,
  tensor: Tensor,
): Promise<Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>> {
  const stored = await storedNumbers(runtime, tensor, { caller: 'readInts', dtypes: INTS, instead: 'read' });
  return stored as Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;
}

/** A function that reads tensors. */
interface Reader {
  readonly caller: string;
  readonly dtypes: readonly DType[];
  /** What reads the other types. */
  readonly instead: string;
}

type Stored =
  Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;

/** The elements of a tensor in the order of its shape, as they are stored. */
async function storedNumbers(runtime: Runtime, tensor: Tensor, reader: Reader): Promise<Stored> {
  const call = Call.on(runtime, reader.caller);
  checkReadable(call, tensor, reader);
  const { buffer, dtype, shape, offset = 0 } = tensor;
  // A copy, since the caller may change the tensor before the numbers arrive.
  const view = { shape: [...shape], strides: [...stridesOf(tensor)] };
  const extent = extentOf(tensor);
  if (extent === 0) return viewOf(isQuantised(dtype) ? 'f32' : dtype, new ArrayBuffer(0), 0, 0);
  const start = offset * bytesPerElement(dtype);
  const firstWord = start - (start % 4);
  const bytes = allocate(call, endBytes(tensor) - firstWord);
  const gathered = (type: Exclude<DType, QuantisedDType>, all: Stored): Stored => {
    if (isContiguous(view)) return all;
    const count = elementCount(shape);
    const out = viewOf(type, allocate(call, count * bytesPerElement(type)).buffer, 0, count);
    gather(all, view, out);
    return out;
  };
  await runtime.read(call.name, [{ buffer, offset: firstWord, bytes }]);
  if (!isQuantised(dtype)) return gathered(dtype, viewOf(dtype, bytes.buffer, start - firstWord, extent));
  const first = (start - firstWord) / bytesPerElement(dtype);
  return gathered('f32', unpackCodes(dtype, bytes).subarray(first, first + extent));
}

function checkReadable(call: Call, tensor: Tensor, { dtypes, instead }: Reader): void {
  checkForm(call, 'tensor', tensor, { dtypes: [...FLOATS, ...INTS, ...QUANTISED] });
  if (!dtypes.includes(tensor.dtype))
    call.refuse('dtype', `tensor must be ${listed(dtypes)}, not ${tensor.dtype}. Use ${instead}.`);
  checkMemory(call, 'tensor', tensor, 'COPY_SRC');
  const { size } = tensor.buffer;
  if (extentOf(tensor) > 0 && wholeWords(endBytes(tensor)) > size) {
    call.refuse(
      'buffer',
      `the buffer of tensor has ${size} bytes, but WebGPU copies whole words: give it ${wholeWords(size)}.`,
    );
  }
}

/** Memory for n bytes, rounded up to whole words. */
function allocate(call: Call, bytes: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(wholeWords(bytes));
  } catch {
    call.refuse('limit', `the host has no memory for ${bytes} bytes. Read less at a time.`);
  }
}

function viewOf(
  dtype: Exclude<DType, QuantisedDType>,
  buffer: ArrayBuffer,
  byteOffset: number,
  length: number,
): Stored {
  switch (dtype) {
    case 'f32':
      return new Float32Array(buffer, byteOffset, length);
    case 'i32':
      return new Int32Array(buffer, byteOffset, length);
    case 'u32':
      return new Uint32Array(buffer, byteOffset, length);
    default:
      return new Uint16Array(buffer, byteOffset, length);
  }
}

interface View {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

/** Whether elements are contiguous in row-major order. The stride of a dimension of size 1 does not matter. */
function isContiguous({ shape, strides }: View): boolean {
  let next = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis]! > 1 && strides[axis] !== next) return false;
    next *= shape[axis]!;
  }
  return true;
}

/** Copies strided elements to `out`, row after row; `all` begins with the first element. */
function gather(all: Stored, { shape, strides }: View, out: Stored): void {
  const rowSize = shape.at(-1)!;
  const index = shape.map(() => 0);
  let from = 0;
  for (let to = 0; to < out.length; to += rowSize) {
    out.set(all.subarray(from, from + rowSize), to);
    for (let axis = shape.length - 2; axis >= 0; axis--) {
      from += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      from -= shape[axis]! * strides[axis]!;
      index[axis] = 0;
    }
  }
}
