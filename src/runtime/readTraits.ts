import type { DeviceTraits, Tier } from '../core/deviceTraits.js';

// As the drivers name themselves: Mesa's lavapipe, Chrome's SwiftShader, Windows' WARP.
const SOFTWARE = /llvmpipe|lavapipe|swiftshader|basic render|warp/i;

/** What a device can do, as far as `tier` lets kernels use it. */
export function readTraits(device: GPUDevice, tier: Tier): DeviceTraits {
  const { limits, features } = device;
  // Browsers older than the attribute say nothing about their adapter.
  const info: Partial<GPUAdapterInfo> = device.adapterInfo ?? {};
  const names = [info.vendor, info.architecture, info.device, info.description].join(' ');
  const hasSubgroups = tier === 'T1' && features.has('subgroups');
  return {
    deviceClass: info.isFallbackAdapter || SOFTWARE.test(names) ? 'software' : 'gpu',
    tier,
    shaderF16: tier === 'T1' && features.has('shader-f16'),
    subgroupMinSize: hasSubgroups ? (info.subgroupMinSize ?? 4) : 0,
    subgroupMaxSize: hasSubgroups ? (info.subgroupMaxSize ?? 128) : 0,
    maxWorkgroupBytes: limits.maxComputeWorkgroupStorageSize,
    maxWorkgroupInvocations: Math.min(
      limits.maxComputeInvocationsPerWorkgroup,
      limits.maxComputeWorkgroupSizeX,
    ),
    maxWorkgroupsPerDimension: limits.maxComputeWorkgroupsPerDimension,
    maxBindingBytes: limits.maxStorageBufferBindingSize,
  };
}
