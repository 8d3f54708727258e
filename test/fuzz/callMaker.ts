import { bytesPerElement, type DType, type FloatDType } from '../../src/core/dtype.js';
import { contiguousStrides, elementCount, type Tensor } from '../../src/core/tensor.js';
import type { Runtime } from '../../src/index.js';
import type { Random } from '../../tools/random.js';
import { fakeBuffer } from '../runtime/fakeDevice.js';

/** Arguments of a call. No two calls share any of them, so that they may be changed. */
export type Args = Record<string, unknown>;

/** A public function with arguments that it takes. */
export interface PublicCall {
  readonly name: string;
  readonly args: Args;
  /** Make the call. */
  readonly run: (runtime: Runtime, args: Args) => unknown;
}

export type MakeTensor = (dtype: DType, shape: readonly number[], rest?: Partial<Tensor>) => Tensor;

/** What valid calls are drawn from. */
export interface Maker {
  readonly random: Random;
  readonly tensor: MakeTensor;
  readonly dtypes: readonly FloatDType[];
  readonly headDims: readonly number[];
}

/** Draws tensors in buffers of their own, at any offset, perhaps with gaps. */
export function drawTensor(random: Random): MakeTensor {
  return (dtype, shape, rest) => {
    const hasGaps = random.int(0, 4) === 0;
    const strides = hasGaps ? spread(shape, random.int(0, 5)) : contiguousStrides(shape);
    const offset = random.pick([0, 0, 0, 8, 64, 1000]);
    const isEmpty = elementCount(shape) === 0;
    const extent = isEmpty ? 0 : shape.reduce((last, n, axis) => last + (n - 1) * strides[axis]!, 1);
    const bytes = Math.ceil(((offset + extent) * bytesPerElement(dtype)) / 4) * 4 + 4 * random.int(1, 80);
    return {
      buffer: fakeBuffer(bytes, 128 | 8 | 4),
      dtype,
      shape: [...shape],
      ...(offset > 0 && { offset }),
      ...(hasGaps && { strides }),
      ...rest,
    };
  };
}

/** Strides with gaps, the last 1. */
function spread(shape: readonly number[], gap: number): number[] {
  const strides = contiguousStrides(shape);
  for (let axis = shape.length - 2; axis >= 0; axis--)
    strides[axis] = strides[axis + 1]! * Math.max(1, shape[axis + 1]!) + gap;
  return strides;
}

export const DTYPES: readonly FloatDType[] = ['f32', 'f16', 'bf16'];

/** Sizes that need few kernel variants. */
export function drawSizes({ random, dtypes, headDims }: Maker) {
  const nKvHeads = random.int(1, 3);
  const dtype = random.pick(dtypes);
  return {
    batch: random.pick([0, 1, 2, 3]),
    nKvHeads,
    nHeads: nKvHeads * random.pick([1, 2, 3]),
    headDim: random.pick(headDims),
    headDimV: random.pick(headDims.slice(0, 2)),
    dtype,
    kvDType: random.boolean() ? dtype : random.pick(dtypes),
  };
}

export type Sizes = ReturnType<typeof drawSizes>;

/** Random lengths of sequences. */
export function lengths(random: Random, batch: number, most = 9): number[] {
  return Array.from({ length: batch }, () => random.int(0, most));
}
