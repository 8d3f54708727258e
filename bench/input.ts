import type { FloatDType } from '../src/core/dtype.js';
import { decode, encode } from '../src/core/halves.js';
import { elementCount, type Tensor } from '../src/core/tensor.js';
import type { HostTensor } from '../src/reference/attention.js';
import { upload } from '../tools/deviceTensor.js';
import type { Random } from '../tools/random.js';

/** A tensor on the GPU and what it holds. */
export interface Input {
  readonly tensor: Tensor;
  readonly host: HostTensor;
}

/** Normally distributed numbers. */
export function createInput(
  device: GPUDevice,
  random: Random,
  shape: readonly number[],
  dtype: FloatDType,
): Input {
  const data = decode(dtype, encode(dtype, random.normals(elementCount(shape))));
  return { tensor: upload(device, dtype, shape, data), host: { data, shape } };
}

export function destroyInputs(inputs: readonly Input[]): void {
  for (const { tensor } of inputs) tensor.buffer.destroy();
}
