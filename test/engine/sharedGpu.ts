import { Gpu } from '../../demo/engine/gpu/gpu.js';

const shared = new WeakMap<GPUDevice, Gpu>();

/** The engine's view of a device, with every kernel that cases have compiled. Each case destroys the buffers it made. */
export function sharedGpu(device: GPUDevice): Gpu {
  const gpu = shared.get(device) ?? new Gpu(device);
  shared.set(device, gpu);
  return gpu;
}
