import type { Tensor } from '../../src/core/tensor.js';
import { contiguousStrides, elementCount } from '../../src/core/tensor.js';
import { bytesPerElement, type DType } from '../../src/core/dtype.js';

/** A device that throws if it is asked to do anything: for checks that must come before any work. */
export function fakeDevice(limits: Partial<GPUSupportedLimits> = {}): GPUDevice {
  const device = {
    limits: {
      maxComputeWorkgroupStorageSize: 16384,
      maxComputeInvocationsPerWorkgroup: 256,
      maxComputeWorkgroupSizeX: 256,
      maxComputeWorkgroupsPerDimension: 65535,
      maxStorageBufferBindingSize: 2 ** 27,
      maxStorageBuffersPerShaderStage: 8,
      ...limits,
    },
    features: new Set<string>(),
    lost: new Promise(() => {}),
    queue: {},
    // Error scopes are no work.
    pushErrorScope: () => {},
    popErrorScope: () => Promise.resolve(null),
  };
  return new Proxy(device, {
    get(target, name) {
      if (name in target || typeof name === 'symbol') return target[name as 'limits'];
      if (name === 'adapterInfo' || name === 'then') return undefined;
      throw new Error(`The device was asked for ${name}.`);
    },
  }) as unknown as GPUDevice;
}

export function fakeBuffer(size: number, usage = 128 | 8): GPUBuffer {
  return { size, usage, mapState: 'unmapped' } as GPUBuffer;
}

/** A tensor in a buffer of its own that is just large enough. */
export function fakeTensor(dtype: DType, shape: readonly number[], rest: Partial<Tensor> = {}): Tensor {
  const strides = rest.strides ?? contiguousStrides(shape);
  const span = shape.reduce((last, size, axis) => last + (size - 1) * strides[axis]!, 1);
  const elements = elementCount(shape) === 0 ? 0 : span + (rest.offset ?? 0);
  const bytes = Math.max(4, Math.ceil((elements * bytesPerElement(dtype)) / 4) * 4);
  return { buffer: fakeBuffer(bytes), dtype, shape, ...rest };
}
