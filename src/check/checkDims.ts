import { fail } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';

/** Tensors by argument name, each with the names of its dimensions. */
export type DimsOf = Readonly<Record<string, readonly [tensor: Tensor, ...dims: string[]]>>;

/**
 * The size of every named dimension.
 *
 * @throws PageflashError `shape` where two tensors do not agree about one
 */
export function checkDims<Dim extends string>(
  caller: string,
  tensors: DimsOf,
): Readonly<Record<Dim, number>> {
  const sizes = new Map<string, { readonly size: number; readonly by: string }>();
  for (const [name, [{ shape }, ...dims]] of Object.entries(tensors)) {
    dims.forEach((dim, axis) => {
      const size = shape[axis]!;
      const known = sizes.get(dim);
      if (!known) sizes.set(dim, { size, by: name });
      else if (known.size !== size) {
        fail(
          'shape',
          caller,
          `${name} is [${shape.join(', ')}], which says ${dim} = ${size}, but ${known.by} says ${dim} = ${known.size}; ${name} must be [${dims.join(', ')}].`,
        );
      }
    });
  }
  return Object.fromEntries(Array.from(sizes, ([dim, { size }]) => [dim, size])) as Record<Dim, number>;
}
