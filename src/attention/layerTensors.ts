import type { Call } from '../check/call.js';
import { checkTensor, dtypeInWords, inBrackets } from '../check/checkTensor.js';
import { namesOf } from '../core/checkArguments.js';
import { bytesPerElement } from '../core/dtype.js';
import type { KvRotation } from '../core/kvFormats.js';
import {
  contiguousStrides,
  isTensor,
  sameNumbers,
  stridesOf,
  WINDOW_ALIGNMENT,
  windowOf,
  type Floats,
  type Tensor,
} from '../core/tensor.js';

/** Tensors of one layer. Default: those that the plan was made with. */
export interface LayerTensors {
  readonly q?: Tensor | undefined;
  readonly k?: Tensor | undefined;
  readonly v?: Tensor | undefined;
  readonly kCache?: Tensor | undefined;
  readonly vCache?: Tensor | undefined;
  readonly kScale?: Tensor | undefined;
  readonly vScale?: Tensor | undefined;
  readonly bias?: Tensor | undefined;
  readonly out?: Tensor | undefined;
  readonly lse?: Tensor | undefined;
  /** That of the plan, as the layers of a `PagedKvCache` have it. */
  readonly kvRotation?: KvRotation | undefined;
  /** A pass to record into, which the caller ends and submits. Default: the call submits its own work at once. */
  readonly pass?: GPUComputePassEncoder | undefined;
}

/** Arguments of a plan which a layer may replace, if they are tensors. */
export interface PlanTensors extends Omit<LayerTensors, 'kScale' | 'vScale'> {
  readonly kScale?: Floats | undefined;
  readonly vScale?: Floats | undefined;
}

/** The tensors that differ from layer to layer, by argument name. */
export type TensorsByName = {
  readonly [Name in Exclude<keyof LayerTensors, 'pass' | 'kvRotation'>]?: Tensor;
};

const NAMES: Readonly<Record<keyof TensorsByName, true>> = {
  q: true,
  k: true,
  v: true,
  kCache: true,
  vCache: true,
  kScale: true,
  vScale: true,
  bias: true,
  out: true,
  lse: true,
};

/** In this order. */
export const TENSOR_NAMES = namesOf<TensorsByName>(NAMES);
export const RECORD_NAMES = namesOf<LayerTensors>({ ...NAMES, kvRotation: true, pass: true });

/** A tensor that the dispatches of a plan name, to be replaced by that of a layer. */
export interface PlannedTensor {
  readonly name: keyof TensorsByName;
  readonly tensor: Tensor;
  readonly strides: readonly number[];
  readonly isContiguous: boolean;
  readonly elementBytes: number;
  /** Where it begins, in elements from the start of the binding. */
  readonly firstElement: number;
}

/** Returns the tensors that a plan was made with. */
export function plannedOf(tensors: PlanTensors): readonly PlannedTensor[] {
  return TENSOR_NAMES.flatMap((name) => {
    const tensor = tensors[name];
    if (!tensor || !isTensor(tensor)) return [];
    const strides = stridesOf(tensor);
    return {
      name,
      tensor,
      strides,
      isContiguous: sameNumbers(strides, contiguousStrides(tensor.shape)),
      elementBytes: bytesPerElement(tensor.dtype),
      firstElement: windowOf(tensor).firstElement,
    };
  });
}

/** Whether a tensor can replace the planned one. That it ends within its buffer is not checked. */
export function isAlike(
  { buffer, dtype, shape, offset = 0, strides }: Tensor,
  planned: PlannedTensor,
): boolean {
  const { elementBytes, firstElement } = planned;
  return (
    typeof buffer === 'object' &&
    buffer !== null &&
    dtype === planned.tensor.dtype &&
    Array.isArray(shape) &&
    sameNumbers(shape, planned.tensor.shape) &&
    (strides === undefined
      ? planned.isContiguous
      : Array.isArray(strides) && sameNumbers(strides, planned.strides)) &&
    typeof offset === 'number' &&
    (offset * elementBytes) % WINDOW_ALIGNMENT === firstElement * elementBytes
  );
}

/** Checks that a tensor can replace the planned one, and says why not. */
export function checkAlike(call: Call, given: Tensor, { name, tensor, strides }: PlannedTensor): void {
  const { dtype } = given;
  if (dtype !== tensor.dtype)
    call.refuse('dtype', `${name} is ${dtypeInWords(dtype)}, but the plan was made for ${tensor.dtype}.`);
  checkTensor(call, name, given, { dtypes: [tensor.dtype], dims: tensor.shape.map(String) });
  checkSame(call, `the shape of ${name} is`, given.shape, tensor.shape);
  checkSame(call, `the strides of ${name} are`, stridesOf(given), strides);
  // Kernels learn only this; the rest of the offset is in the binding.
  const [first, plannedFirst] = [windowOf(given).firstElement, windowOf(tensor).firstElement];
  if (first !== plannedFirst) {
    call.refuse(
      'shape',
      `${name} begins ${first} elements after a multiple of 256 bytes, but the plan was made for ${plannedFirst}. Place all layers alike.`,
    );
  }
}

function checkSame(call: Call, what: string, got: readonly number[], want: readonly number[]): void {
  if (sameNumbers(got, want)) return;
  call.refuse(
    'shape',
    `${what} ${inBrackets(got)}, but the plan was made for ${inBrackets(want)}. Pass the tensors of a new step to update; within a step, give all layers the same, or make a plan for each kind.`,
  );
}

/** More dimensions than any tensor has. A longer list is refused, so it need not be copied. */
const MAX_DIMS = 8;

/** Returns a copy of a tensor's fields, which shares only the buffer. */
export function copyOfTensor({ buffer, dtype, shape, offset, strides }: Tensor): Tensor {
  return {
    buffer,
    dtype,
    shape: copyOfSizes(shape),
    ...(offset !== undefined && { offset }),
    ...(strides !== undefined && { strides: copyOfSizes(strides) }),
  };
}

/** Returns a copy. What is not a list, or is too long, is returned as it is, for the check that refuses it. */
function copyOfSizes(sizes: readonly number[]): readonly number[] {
  return Array.isArray(sizes) && sizes.length <= MAX_DIMS ? Array.from(sizes) : sizes;
}
