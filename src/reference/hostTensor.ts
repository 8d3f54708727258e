import { describe, fail, PageflashError } from '../core/errors.js';
import { elementCount } from '../core/tensor.js';

/** Real numbers in host memory, contiguous, the last index fastest: what the reference reads and returns. */
export interface HostTensor {
  readonly data: Float32Array | Float64Array;
  readonly shape: readonly number[];
}

/** Integers on the host: lengths, offsets, tables. */
export type HostInts = Int32Array | Uint32Array | readonly number[];

/** Real numbers on the host whose shape the operation knows: slopes, sinks. */
export type HostFloats = Float32Array | Float64Array | readonly number[];

/** Checks that arguments are tensors, and hold as many numbers as their shapes say; undefined ones are none. */
export function checkTensors(
  caller: string,
  tensors: Readonly<Record<string, HostTensor | undefined>>,
): void {
  for (const [name, tensor] of Object.entries(tensors)) {
    if (!Array.isArray(tensor?.shape) || !ArrayBuffer.isView(tensor.data))
      fail(
        'argument',
        caller,
        `${name} must be { data, shape }, numbers in a typed array, not ${describe(tensor)}.`,
      );
    const count = elementCount(tensor.shape);
    if (tensor.data.length === count) continue;
    const shape = tensor.shape.join(', ');
    fail('shape', caller, `${name} is [${shape}], ${count} numbers, but has ${tensor.data.length}.`);
  }
}

/** The sizes of a tensor that must have three dimensions. */
export function sizes3(name: string, { shape }: HostTensor): readonly [number, number, number] {
  const [a, b, c, ...rest] = shape;
  if (a === undefined || b === undefined || c === undefined || rest.length > 0)
    throw wrongRank(name, 3, shape);
  return [a, b, c];
}

/** The sizes of a tensor that must have four dimensions. */
export function sizes4(name: string, { shape }: HostTensor): readonly [number, number, number, number] {
  const [a, b, c, d, ...rest] = shape;
  if (a === undefined || b === undefined || c === undefined || d === undefined || rest.length > 0)
    throw wrongRank(name, 4, shape);
  return [a, b, c, d];
}

/** How many heads a row has and how long they are. */
export function lastSizes({ shape }: HostTensor): readonly [number, number] {
  return [shape.at(-2)!, shape.at(-1)!];
}

function wrongRank(name: string, rank: number, shape: readonly number[]): PageflashError {
  return new PageflashError(
    'shape',
    `${name} must have ${rank} dimensions; its shape is [${shape.join(', ')}].`,
  );
}
