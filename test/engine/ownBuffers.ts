/** A device whose buffers are made by `create`, for what happens without memory, or to count them. */
export function withOwnBuffers(
  device: GPUDevice,
  create: (descriptor: GPUBufferDescriptor) => GPUBuffer,
): GPUDevice {
  return new Proxy(device, {
    get(_, name) {
      if (name === 'createBuffer') return create;
      const value: unknown = Reflect.get(device, name, device);
      return typeof value === 'function' ? value.bind(device) : value;
    },
  });
}

/** A device that has no memory for buffers of a label. */
export function withoutMemoryFor(device: GPUDevice, label: string): GPUDevice {
  return withOwnBuffers(device, (descriptor) => {
    const size = descriptor.label === label ? device.limits.maxBufferSize : descriptor.size;
    return device.createBuffer({ ...descriptor, size });
  });
}

/** Takes buffers of the largest size until there is no memory for one more. Software drivers lack it for the first. */
export async function takeMemory(device: GPUDevice): Promise<void> {
  for (;;) {
    device.pushErrorScope('out-of-memory');
    device.createBuffer({ size: device.limits.maxBufferSize, usage: GPUBufferUsage.STORAGE });
    if (await device.popErrorScope()) return;
  }
}
