import type { DeviceTraits } from '../../src/core/deviceTraits.js';

/** A GPU with WebGPU's default limits and no feature, but for what is given. */
export function traitsOf(traits: Partial<DeviceTraits>): DeviceTraits {
  return {
    deviceClass: 'gpu',
    vendor: '',
    architecture: '',
    tier: 'T1',
    shaderF16: false,
    subgroupMinSize: 0,
    subgroupMaxSize: 0,
    subgroupSizeControl: false,
    matrices: null,
    matricesNote: '',
    maxWorkgroupBytes: 16384,
    maxWorkgroupInvocations: 256,
    maxWorkgroupsPerDimension: 65535,
    maxBindingBytes: 2 ** 27,
    tuning: null,
    maxStorageBuffers: 8,
    ...traits,
  };
}
