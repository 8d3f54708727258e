import { Call, isCounts } from '../check/call.js';
import { inBrackets } from '../check/checkTensor.js';
import { checkNames, namesOf } from '../core/checkArguments.js';
import { bytesPerElement, type DType } from '../core/dtype.js';
import { elementCount, wholeWords, type Tensor } from '../core/tensor.js';
import type { Runtime } from '../runtime/runtime.js';
import { writeBytes } from '../runtime/transfers.js';
import { checkElements, type Elements, type TensorData } from './tensorData.js';

export interface TensorFromOptions {
  /** Default: one dimension, as long as the data. Required for bytes. */
  readonly shape?: readonly number[] | undefined;
  /** Default: that of the array, see `tensorFrom`. Required for bits and bytes. */
  readonly dtype?: DType | undefined;
}

const NAMES = namesOf<TensorFromOptions>({ shape: true, dtype: true });

/** Elements converted and written at a time: a multiple of 2, so that only the last write is padded. */
const MOST_ELEMENTS = 2 ** 20;

/**
 * Makes a contiguous tensor in a buffer of its own, which the caller destroys, and fills it with numbers of the host: after
 * all work submitted before, and before all work submitted later. The data may be changed as soon as the call returns.
 *
 * | data | dtype, the default first | |
 * | --- | --- | --- |
 * | `Float32Array`, `Float64Array` | f32, f16, bf16 | rounded once, to the nearest, ties to even; overflow to infinity |
 * | `Float16Array` | f16, f32, bf16 | |
 * | `Int32Array` | i32, u32 | numbers out of the type's range are refused |
 * | `Uint32Array` | u32, i32 | likewise |
 * | `number[]` | f32, f16, bf16, i32, u32 | as the two above |
 * | `Uint16Array` | f16, bf16; required | the bits of halves, as `toHalves` gives them |
 * | `Int8Array` | i8 | the numbers before they are multiplied by their scale |
 * | `Uint8Array` | any; required, as is the shape | bytes as they are stored, as in a file; any alignment |
 *
 * Other arrays are refused. The memory may be shared.
 *
 * @throws PageflashError `argument`, `dtype` or `shape` for data that does not fit; `limit` if the device has no buffers
 * that large
 * @example
 * const q = tensorFrom(runtime, numbers, { shape: [8, 32, 128], dtype: 'f16' });
 * const weight = tensorFrom(runtime, new Uint8Array(file, begin, end - begin), { shape, dtype: 'bf16' });
 */
export function tensorFrom(runtime: Runtime, data: TensorData, options: TensorFromOptions = {}): Tensor {
  const call = Call.on(runtime, 'tensorFrom');
  checkNames(call.name, options, NAMES);
  const elements = checkElements(call, data, options.dtype);
  const shape = checkShape(call, data, elements, options.shape);
  return runtime.inNameOf(call.name, () => {
    const tensor = runtime.createTensor(shape, elements.dtype);
    try {
      write(runtime.device, tensor, elements);
    } catch (error) {
      tensor.buffer.destroy();
      throw error;
    }
    return tensor;
  });
}

/** Checks that the shape holds all of the data. */
function checkShape(
  call: Call,
  data: TensorData,
  { dtype, byteLength, isBytes }: Elements,
  shape: readonly number[] | undefined,
): readonly number[] {
  if (shape === undefined) {
    if (isBytes) call.refuse('shape', 'data holds bytes as they are stored, so say the shape.');
    return [data.length];
  }
  if (!isCounts(shape)) call.refuseValue('shape', 'whole numbers ≥ 0', shape, 'shape');
  const count = elementCount(shape);
  const bytes = Math.ceil(count * bytesPerElement(dtype));
  if (bytes === byteLength) return [...shape];
  const [wanted, got] = isBytes
    ? [`${bytes} bytes of ${dtype}`, `${byteLength} bytes`]
    : [`${count} elements`, data.length];
  call.refuse('shape', `shape ${inBrackets(shape)} has ${wanted}, but data has ${got}.`);
}

function write(device: GPUDevice, { buffer, dtype, shape }: Tensor, elements: Elements): void {
  const count = elementCount(shape);
  for (let from = 0; from < count; from += MOST_ELEMENTS) {
    const bytes = elements.bytes(from, Math.min(count, from + MOST_ELEMENTS));
    writeBytes(device, [{ buffer, offset: from * bytesPerElement(dtype), bytes: padded(bytes) }]);
  }
}

/** Padded to whole words, which WebGPU requires. */
function padded(bytes: Uint8Array): Uint8Array {
  if (bytes.length % 4 === 0) return bytes;
  const words = new Uint8Array(wholeWords(bytes.length));
  words.set(bytes);
  return words;
}
