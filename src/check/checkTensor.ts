import { areOfDifferentDevices, BUFFER_USAGE } from '../core/gpuBuffers.js';
import { describe, fail } from '../core/errors.js';
import type { DeviceTraits } from '../core/deviceTraits.js';
import { bytesPerElement, isDType, type DType } from '../core/dtype.js';
import {
  elementCount,
  endBytes,
  extentOf,
  isTensor,
  stridesOf,
  windowOf,
  type Tensor,
} from '../core/tensor.js';

export interface TensorRule {
  readonly dtypes: readonly DType[];
  /** The shape in the words of the documentation, such as `[totalQ, Hq, D]`. Default: any shape. */
  readonly dims?: readonly string[] | undefined;
  /** What to do about a shape of another number of dimensions, by that number. */
  readonly hints?: Readonly<Record<number, string>> | undefined;
}

/** Checks that a tensor is well formed and lies within its buffer, and that a kernel can bind it. */
export function checkTensor(
  caller: string,
  name: string,
  tensor: Tensor,
  rule: TensorRule,
  traits: DeviceTraits,
): void {
  checkForm(caller, name, tensor, rule);
  checkMemory(caller, name, tensor, { usage: 'STORAGE', traits });
  checkBinding(caller, name, tensor, traits);
}

/** Checks that a tensor is well formed, wherever it lies. */
export function checkForm(caller: string, name: string, tensor: Tensor, rule: TensorRule): void {
  if (!isTensor(tensor)) {
    fail('argument', caller, `${name} must be a tensor, { buffer, dtype, shape }, not ${describe(tensor)}.`);
  }
  checkDType(caller, name, tensor, rule.dtypes);
  checkLayout(caller, name, tensor, rule);
}

function checkDType(caller: string, name: string, { dtype }: Tensor, dtypes: readonly DType[]): void {
  if (isDType(dtype) && dtypes.includes(dtype)) return;
  fail(
    'dtype',
    caller,
    `${name} must be ${listed(dtypes)}, not ${isDType(dtype) ? dtype : describe(dtype)}.`,
  );
}

function checkLayout(caller: string, name: string, tensor: Tensor, { dims, hints = {} }: TensorRule): void {
  const { shape, strides, offset = 0 } = tensor;
  if (!isCounts(shape, dims?.length)) {
    const wanted = dims
      ? `must have the shape [${dims.join(', ')}]`
      : 'must have a shape of whole numbers ≥ 0';
    const hint = Array.isArray(shape) ? hints[(shape as readonly unknown[]).length] : undefined;
    fail(
      'shape',
      caller,
      `${name} ${wanted}, not ${describe(shape)}.${hint === undefined ? '' : ` ${hint}`}`,
    );
  }
  const tooLarge = shape.find((size) => size > MAX_SIZE);
  if (tooLarge !== undefined) {
    fail(
      'limit',
      caller,
      `${name} is ${describe(shape)}, but kernels count only to ${MAX_SIZE} in each dimension. Split it.`,
    );
  }
  if (!isCount(offset))
    fail('shape', caller, `the offset of ${name} must be a whole number ≥ 0, not ${describe(offset)}.`);
  if (strides === undefined) return;
  if (!isCounts(strides, shape.length)) {
    fail(
      'shape',
      caller,
      `the strides of ${name} must be ${shape.length} whole numbers ≥ 0, not ${describe(strides)}.`,
    );
  }
  if (strides.length > 0 && strides.at(-1) !== 1) {
    fail('shape', caller, `the last stride of ${name} must be 1, not ${strides.at(-1)}.`);
  }
}

/** Checks that a tensor lies within a buffer of the device that has the usage given. */
export function checkMemory(
  caller: string,
  name: string,
  tensor: Tensor,
  { usage, traits }: { readonly usage: 'STORAGE' | 'COPY_SRC'; readonly traits: DeviceTraits },
): void {
  const { buffer } = tensor;
  if (typeof buffer?.size !== 'number' || typeof buffer.usage !== 'number') {
    fail('buffer', caller, `${name}.buffer must be a GPUBuffer, not ${describe(buffer)}.`);
  }
  if (areOfDifferentDevices(buffer, traits)) {
    fail(
      'device',
      caller,
      `${name} was made by another device than the runtime's. Make it on this one, or bring it over by way of the host.`,
    );
  }
  if ((buffer.usage & BUFFER_USAGE[usage]) === 0) {
    fail('buffer', caller, `the buffer of ${name} must be made with GPUBufferUsage.${usage}.`);
  }
  checkUnmapped(caller, name, tensor);
  const end = endBytes(tensor);
  if (end > buffer.size) {
    fail(
      'buffer',
      caller,
      `${name} ends at byte ${end} of a buffer of ${buffer.size} bytes. Check its shape, strides and offset.`,
    );
  }
}

/** Checks that a kernel can bind a tensor. */
function checkBinding(caller: string, name: string, tensor: Tensor, traits: DeviceTraits): void {
  const { buffer, dtype } = tensor;
  const { offset, size } = windowOf(tensor);
  if (offset + size > buffer.size) {
    fail(
      'buffer',
      caller,
      `the buffer of ${name} has ${buffer.size} bytes, but kernels read whole words: give it ${offset + size}.`,
    );
  }
  if (size > traits.maxBindingBytes) {
    fail(
      'limit',
      caller,
      `${name} spans ${size} bytes, but this device binds at most ${traits.maxBindingBytes}. Ask for maxStorageBufferBindingSize, use requestDevice(), or split the tensor.`,
    );
  }
  if (size / bytesPerElement(dtype) > MAX_ELEMENTS) {
    fail('limit', caller, `${name} spans more than 2³² elements, which kernels cannot count. Split it.`);
  }
}

/** A buffer may be mapped or unmapped at any time, so each use asks anew. */
export function checkUnmapped(caller: string, name: string, { buffer }: Tensor): void {
  if (buffer?.mapState !== undefined && buffer.mapState !== 'unmapped')
    fail('buffer', caller, `the buffer of ${name} is mapped. Unmap it first.`);
}

/** Kernels count elements in u32. */
export const MAX_ELEMENTS = 2 ** 32;

/** Kernels count tokens, rows and pages in i32. */
const MAX_SIZE = 2 ** 31 - 1;

/** Checks that no two elements of a tensor that is written share their memory. */
export function checkNoOverlapWithin(caller: string, name: string, tensor: Tensor): void {
  if (elementCount(tensor.shape) === 0) return;
  const strides = stridesOf(tensor);
  const steps = tensor.shape
    .map((size, axis) => ({ size, stride: strides[axis]! }))
    .filter(({ size }) => size > 1)
    .toSorted((a, b) => a.stride - b.stride);
  let extent = 1;
  for (const { size, stride } of steps) {
    if (stride < extent) {
      fail('shape', caller, `elements of ${name} overlap: its strides are [${strides.join(', ')}].`);
    }
    extent += (size - 1) * stride;
  }
}

/**
 * Checks that what is written shares no buffer with what is read, which WebGPU forbids within a dispatch, nor bytes
 * with what else is written.
 */
export function checkWritesApart(
  caller: string,
  written: Readonly<Record<string, Tensor | undefined>>,
  read: Readonly<Record<string, unknown>>,
): void {
  const outputs = Object.entries(written).filter(
    (entry): entry is [string, Tensor] => entry[1] !== undefined,
  );
  for (const [name, output] of outputs) {
    for (const [inputName, input] of Object.entries(read)) {
      if (!isTensor(input) || input.buffer !== output.buffer) continue;
      fail(
        'buffer',
        caller,
        `${name} is in the same buffer as ${inputName}. WebGPU cannot read and write a buffer in one dispatch: give ${name} a buffer of its own.`,
      );
    }
  }
  const [[firstName, first], [secondName, second]] = [outputs[0] ?? [], outputs[1] ?? []];
  if (!first || !second || first.buffer !== second.buffer || !extentOf(first) || !extentOf(second)) return;
  const a = windowOf(first);
  const b = windowOf(second);
  if (a.offset < b.offset + b.size && b.offset < a.offset + a.size) {
    fail(
      'buffer',
      caller,
      `${firstName} and ${secondName} are too close in one buffer: put them 256 bytes apart, or in two buffers.`,
    );
  }
}

export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Whether a value is an array of counts, of so many if that is said. Arrays without end are not looked through. */
export function isCounts(value: unknown, length?: number): value is readonly number[] {
  if (!Array.isArray(value) || (length !== undefined && value.length !== length)) return false;
  // Unlike `every`, it looks at holes.
  return value.findIndex((count) => !isCount(count)) < 0;
}

/** "a, b or c". */
export function listed(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}
