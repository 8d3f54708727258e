import { areOfDifferentDevices, BUFFER_USAGE } from '../core/gpuBuffers.js';
import { describe } from '../core/errors.js';
import { bytesPerElement, isDType, type DType } from '../core/dtype.js';
import { endBytes, isTensor, windowOf, type Tensor } from '../core/tensor.js';
import { isCount, isCounts, MAX_INT, type Call } from './call.js';

export interface TensorRule {
  readonly dtypes: readonly DType[];
  /** The shape in the words of the documentation, such as `[totalQ, Hq, D]`. Default: any shape. */
  readonly dims?: readonly string[] | undefined;
  /** What to do about a shape of another number of dimensions, by that number. */
  readonly hints?: Readonly<Record<number, string>> | undefined;
}

/** The sizes that an argument must have, with its dimensions in words. */
export interface SizeRule {
  readonly dims: readonly string[];
  readonly sizes: readonly number[];
}

/** Checks that a tensor is well formed and lies within its buffer, and that a kernel can bind it. */
export function checkTensor(call: Call, name: string, tensor: Tensor, rule: TensorRule): void {
  checkForm(call, name, tensor, rule);
  checkMemory(call, name, tensor, 'STORAGE');
  checkBinding(call, name, tensor);
}

/** `checkTensor`, and that the tensor has the sizes that other arguments ask for. */
export function checkSizedTensor(
  call: Call,
  name: string,
  tensor: Tensor,
  rule: TensorRule & SizeRule,
): void {
  checkTensor(call, name, tensor, rule);
  checkSizes(call, name, tensor, rule);
}

/** Checks that a tensor has the sizes that other arguments ask for. */
export function checkSizes(call: Call, name: string, { shape }: Tensor, rule: SizeRule): void {
  if (rule.sizes.some((size, axis) => shape[axis] !== size))
    call.refuse('shape', `${name} must be ${sizesInWords(rule)}, not ${inBrackets(shape)}.`);
}

/** Checks that a tensor is well formed, wherever it lies. */
export function checkForm(call: Call, name: string, tensor: Tensor, { dtypes, ...rule }: TensorRule): void {
  checkIsTensor(call, name, tensor);
  const { dtype } = tensor;
  if (!isDType(dtype) || !dtypes.includes(dtype))
    call.refuse('dtype', `${name} must be ${listed(dtypes)}, not ${dtypeInWords(dtype)}.`);
  checkLayout(call, name, tensor, rule);
}

export function checkIsTensor(call: Call, name: string, tensor: unknown): asserts tensor is Tensor {
  if (!isTensor(tensor)) call.refuseValue(name, 'a tensor, { buffer, dtype, shape }', tensor);
}

function checkLayout(
  call: Call,
  name: string,
  { shape, strides, offset = 0 }: Tensor,
  { dims, hints = {} }: Omit<TensorRule, 'dtypes'>,
): void {
  if (!isCounts(shape, dims?.length)) {
    const wanted = dims ? `the shape ${inBrackets(dims)}` : 'a shape of whole numbers ≥ 0';
    const hint = Array.isArray(shape) ? hints[(shape as readonly unknown[]).length] : undefined;
    call.refuse(
      'shape',
      `${name} must have ${wanted}, not ${describe(shape)}.${hint === undefined ? '' : ` ${hint}`}`,
    );
  }
  if (Math.max(...shape) > MAX_INT) {
    call.refuse(
      'limit',
      `${name} is ${describe(shape)}, but kernels count only to ${MAX_INT} in each dimension. Split it.`,
    );
  }
  if (!isCount(offset)) call.refuseValue(`the offset of ${name}`, 'a whole number ≥ 0', offset, 'shape');
  if (strides === undefined) return;
  if (!isCounts(strides, shape.length))
    call.refuseValue(`the strides of ${name}`, `${shape.length} whole numbers ≥ 0`, strides, 'shape');
  if (strides.length > 0 && strides.at(-1) !== 1)
    call.refuseValue(`the last stride of ${name}`, '1', strides.at(-1), 'shape');
}

/** Checks that a tensor lies within a buffer of the device that has the usage given. */
export function checkMemory(call: Call, name: string, tensor: Tensor, usage: 'STORAGE' | 'COPY_SRC'): void {
  const { buffer } = tensor;
  if (typeof buffer?.size !== 'number' || typeof buffer.usage !== 'number')
    call.refuseValue(`${name}.buffer`, 'a GPUBuffer', buffer, 'buffer');
  if (areOfDifferentDevices(buffer, call.traits)) {
    call.refuse(
      'device',
      `${name} was made by another device than the runtime's. Make it on this one, or bring it over by way of the host.`,
    );
  }
  if ((buffer.usage & BUFFER_USAGE[usage]) === 0)
    call.refuse('buffer', `the buffer of ${name} must be made with GPUBufferUsage.${usage}.`);
  checkUnmapped(call, name, tensor);
  const end = endBytes(tensor);
  if (end > buffer.size) {
    call.refuse(
      'buffer',
      `${name} ends at byte ${end} of a buffer of ${buffer.size} bytes. Check its shape, strides and offset.`,
    );
  }
}

/** Checks that a kernel can bind a tensor. */
function checkBinding(call: Call, name: string, tensor: Tensor): void {
  const { buffer, dtype } = tensor;
  const { maxBindingBytes } = call.traits;
  const { offset, size } = windowOf(tensor);
  if (offset + size > buffer.size) {
    call.refuse(
      'buffer',
      `the buffer of ${name} has ${buffer.size} bytes, but kernels read whole words: give it ${offset + size}.`,
    );
  }
  if (size > maxBindingBytes) {
    call.refuse(
      'limit',
      `${name} spans ${size} bytes, but this device binds at most ${maxBindingBytes}. Ask for maxStorageBufferBindingSize, use requestDevice(), or split the tensor.`,
    );
  }
  if (size / bytesPerElement(dtype) > MAX_ELEMENTS)
    call.refuse('limit', `${name} spans more than 2³² elements, which kernels cannot count. Split it.`);
}

/** Kernels count elements in u32. */
export const MAX_ELEMENTS = 2 ** 32;

/** Checks that a buffer is not mapped. It may be mapped or unmapped at any time, so each use asks again. */
export function checkUnmapped(call: Call, name: string, { buffer }: Tensor): void {
  if (buffer?.mapState !== undefined && buffer.mapState !== 'unmapped')
    call.refuse('buffer', `the buffer of ${name} is mapped. Unmap it first.`);
}

/** Tensors by argument name, each with the names of its dimensions. */
export type DimsOf = Readonly<Record<string, readonly [tensor: Tensor, ...dims: string[]]>>;

/**
 * The size of every named dimension.
 *
 * @throws PageflashError `shape` where two tensors do not agree about one
 */
export function checkDims<Dim extends string>(call: Call, tensors: DimsOf): Readonly<Record<Dim, number>> {
  const known: Record<string, { readonly size: number; readonly by: string }> = {};
  for (const [name, [{ shape }, ...dims]] of Object.entries(tensors)) {
    dims.forEach((dim, axis) => {
      const size = shape[axis]!;
      const { size: before, by } = (known[dim] ??= { size, by: name });
      if (before === size) return;
      call.refuse(
        'shape',
        `${name} is ${inBrackets(shape)}, which says ${dim} = ${size}, but ${by} says ${dim} = ${before}; ${name} must be ${inBrackets(dims)}.`,
      );
    });
  }
  const sizes = Object.entries(known).map(([dim, { size }]) => [dim, size] as const);
  return Object.fromEntries(sizes) as Record<Dim, number>;
}

/** Checks that two arguments, given by name, have the same element type. */
export function checkSameType(call: Call, types: Readonly<Record<string, DType>>): void {
  const [[name, dtype], [otherName, otherDType]] = Object.entries(types) as [
    [string, DType],
    [string, DType],
  ];
  if (dtype !== otherDType)
    call.refuse('dtype', `${name} is ${dtype} but ${otherName} is ${otherDType}; they must be the same.`);
}

/** A type, or whatever else was given for one, in words. */
export function dtypeInWords(dtype: unknown): string {
  return isDType(dtype) ? dtype : describe(dtype);
}

/** "[B, Hq] = [2, 8]". */
export function sizesInWords({ dims, sizes }: SizeRule): string {
  return `${inBrackets(dims)} = ${inBrackets(sizes)}`;
}

/** "[2, 8]", however many entries there are. */
export function inBrackets(list: readonly (string | number)[]): string {
  return `[${list.join(', ')}]`;
}

/** "a, b or c". */
export function listed(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}
