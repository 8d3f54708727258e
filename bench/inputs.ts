import type { Tensor } from '../src/core/tensor.js';
import { decode, encode } from '../src/core/halves.js';
import type { HostTensor } from '../src/reference/attention.js';
import { upload } from '../test/support/deviceTensor.js';
import { Random } from '../test/support/random.js';
import type { BenchCase } from './shapes.js';

/** A tensor on the GPU and what it holds. */
export interface Input {
  readonly tensor: Tensor;
  readonly host: HostTensor;
}

export interface Inputs {
  /** [length, Hq, D] */
  readonly q: Input;
  /** [length, Hkv, D] */
  readonly k: Input;
  readonly v: Input;
}

/** Normally distributed numbers, the same in every run. */
export function createInputs(device: GPUDevice, benchCase: BenchCase): Inputs {
  const { length, nHeads, nKvHeads, headDim, dtype } = benchCase;
  const random = new Random(length);
  const create = (heads: number): Input => {
    const shape = [length, heads, headDim];
    const data = decode(dtype, encode(dtype, random.normals(length * heads * headDim)));
    return { tensor: upload(device, dtype, shape, data), host: { data, shape } };
  };
  return { q: create(nHeads), k: create(nKvHeads), v: create(nKvHeads) };
}

export function destroyInputs({ q, k, v }: Inputs): void {
  for (const { tensor } of [q, k, v]) tensor.buffer.destroy();
}
