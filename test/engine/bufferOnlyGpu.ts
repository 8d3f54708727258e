import { Gpu } from '../../demo/engine/gpu/gpu.js';

/** A device with the limits that all have, which makes buffers and takes writes, for what is refused before more. */
export function bufferOnlyGpu(): Gpu {
  return new Gpu({
    limits: { maxStorageBufferBindingSize: 2 ** 27, maxBufferSize: 2 ** 28 },
    queue: { writeBuffer() {} },
    pushErrorScope() {},
    popErrorScope: () => Promise.resolve(null),
    createBuffer: ({ size, label }: GPUBufferDescriptor) => ({ size, label, destroy() {} }),
  } as unknown as GPUDevice);
}
