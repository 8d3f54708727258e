import { PageflashError } from '../core/errors.js';

/** Real numbers in host memory, contiguous, the last index fastest: what the reference reads and returns. */
export interface HostTensor {
  readonly data: Float32Array | Float64Array;
  readonly shape: readonly number[];
}

/** Integers on the host: lengths, offsets, tables. */
export type HostInts = Int32Array | Uint32Array | readonly number[];

/** Real numbers on the host whose shape the operation knows: slopes, sinks. */
export type HostFloats = Float32Array | Float64Array | readonly number[];

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
