import { isTensor, type Tensor } from '../core/tensor.js';
import { isHostArray } from '../check/checkNumbers.js';

/** More dimensions than any tensor has: a longer list is refused, and not copied for it. */
const MAX_DIMS = 8;

/** A tensor as it is now, which shares nothing with the given one but the buffer. */
export function viewOf({ buffer, dtype, shape, offset, strides }: Tensor): Tensor {
  return {
    buffer,
    dtype,
    shape: copyOfSizes(shape),
    ...(offset !== undefined && { offset }),
    ...(strides !== undefined && { strides: copyOfSizes(strides) }),
  };
}

/** A copy; what is no list, or too long, is left for the check that refuses it. */
function copyOfSizes(sizes: readonly number[]): readonly number[] {
  return Array.isArray(sizes) && sizes.length <= MAX_DIMS ? Array.from(sizes) : sizes;
}

/** Arguments with views of their own in place of the tensors. */
export function withViews<Args extends object>(args: Args): Args {
  return mapped(args, (value) => (isTensor(value) ? viewOf(value) : value));
}

/** Arguments with copies of their own in place of the arrays, once they are known to be no longer than they may be. */
export function withCopies<Args extends object>(args: Args): Args {
  return mapped(args, (value) => (isHostArray(value) ? copyOf(value) : value));
}

function copyOf(numbers: ArrayLike<number>): ArrayLike<number> {
  const isTyped =
    numbers instanceof Int32Array || numbers instanceof Uint32Array || numbers instanceof Float32Array;
  return isTyped ? numbers.slice() : Array.from(numbers);
}

function mapped<Args extends object>(args: Args, change: (value: unknown) => unknown): Args {
  return Object.fromEntries(Object.entries(args).map(([name, value]) => [name, change(value)])) as Args;
}
