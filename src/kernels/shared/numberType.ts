import { isTensor, windowOf, type Tensor } from '../../core/tensor.js';

/** How kernels that take any type of numbers at run time know it: their F32, F16 and BF16. */
const TYPES: Readonly<Record<string, number>> = { f32: 0, f16: 1, bf16: 2 };

type Numbers = Tensor | Int32Array | Float32Array | null | undefined;

export function typeOf(numbers: Numbers): number {
  return numbers && isTensor(numbers) ? TYPES[numbers.dtype]! : TYPES['f32']!;
}

/** The first element in what a kernel binds. */
export function firstOf(numbers: Numbers): number {
  return numbers && isTensor(numbers) ? windowOf(numbers).firstElement : 0;
}
