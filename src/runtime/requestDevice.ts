import { checkNames, namesOf } from '../core/checkArguments.js';
import type { DeviceTraits, Tier } from '../core/deviceTraits.js';
import { describe, fail } from '../core/errors.js';

const CALLER = 'requestDevice';

/** Options of the adapter, and where to ask for it. */
export interface RequestDeviceOptions extends GPURequestAdapterOptions {
  /** Where to ask for an adapter. Default `navigator.gpu`. It is kept for as long as the program runs. */
  readonly gpu?: GPU | undefined;
  /** The label of the device. Default `pageflash`. */
  readonly label?: string | undefined;
}

const OPTIONS = namesOf<RequestDeviceOptions>({
  gpu: true,
  label: true,
  featureLevel: true,
  powerPreference: true,
  forceFallbackAdapter: true,
  xrCompatible: true,
});

/** Features that make a kernel faster or a measurement possible. */
const HELPFUL_FEATURES = [
  'shader-f16',
  'subgroups',
  'timestamp-query',
] as const satisfies readonly GPUFeatureName[];

/** Limits that allow bigger tiles, bigger caches and fewer dispatches than the defaults. */
export const HELPFUL_LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
] as const satisfies readonly (keyof GPUSupportedLimits)[];

// Deno 2.9 panics when a device is asked for its adapterInfo after the adapter was collected.
const adapters = new WeakMap<GPUDevice, GPUAdapter>();

// Node crashes if the GPU that `create` of the package webgpu returned is collected before its devices. At the end of a
// program they are collected in any order, so the GPU must never be.
const sources = new Set<GPU>();

/**
 * Returns a device with all optional features and limits of its adapter that make pageflash faster or allow larger
 * caches.
 *
 * @throws PageflashError `device` where there is no WebGPU or no adapter; `argument` for an unknown option
 */
export async function requestDevice(options: RequestDeviceOptions = {}): Promise<GPUDevice> {
  checkOptions(options);
  const { gpu = globalThis.navigator?.gpu, label = 'pageflash', ...adapterOptions } = options;
  if (!gpu) {
    fail(
      'device',
      CALLER,
      'this environment has no WebGPU (navigator.gpu is missing). Use a browser that has it, over https or localhost. In Node, install the package webgpu and pass { gpu: create([]) }.',
    );
  }
  sources.add(gpu);
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance', ...adapterOptions });
  if (!adapter) {
    fail(
      'device',
      CALLER,
      'no GPU adapter was found. Install a graphics driver (on Linux one for Vulkan, such as mesa-vulkan-drivers), or allow WebGPU in the browser.',
    );
  }
  const device = await adapter.requestDevice({
    label,
    requiredFeatures: HELPFUL_FEATURES.filter((feature) => adapter.features.has(feature)),
    requiredLimits: Object.fromEntries(HELPFUL_LIMITS.map((limit) => [limit, adapter.limits[limit]])),
  });
  adapters.set(device, adapter);
  return device;
}

/** Checks the options that only pageflash has. WebGPU checks those of the adapter. */
function checkOptions(options: RequestDeviceOptions): void {
  if (typeof options === 'object' && options !== null && 'requestAdapter' in options)
    fail('argument', CALLER, 'the arguments must be one object, not a GPU. Pass it as { gpu }.');
  checkNames(CALLER, options, OPTIONS);
  const { gpu, label } = options;
  if (gpu !== undefined && typeof gpu?.requestAdapter !== 'function')
    fail('argument', CALLER, `gpu must be what navigator.gpu is, not ${describe(gpu)}.`);
  if (label !== undefined && typeof label !== 'string')
    fail('argument', CALLER, `label must be a string, not ${describe(label)}.`);
}

// The names of software drivers: Mesa's lavapipe, Chrome's SwiftShader, Windows' WARP.
const SOFTWARE = /llvmpipe|lavapipe|swiftshader|basic render|warp/i;

/** Returns what a device can do, as far as `tier` lets kernels use it; no tuning yet. */
export function readTraits(device: GPUDevice, tier: Tier): DeviceTraits {
  const { limits, features } = device;
  // Older browsers have no adapterInfo.
  const info: Partial<GPUAdapterInfo> = device.adapterInfo ?? {};
  const names = [info.vendor, info.architecture, info.device, info.description].join(' ');
  const hasSubgroups = tier === 'T1' && features.has('subgroups');
  return {
    deviceClass: info.isFallbackAdapter || SOFTWARE.test(names) ? 'software' : 'gpu',
    vendor: (info.vendor ?? '').toLowerCase(),
    architecture: (info.architecture ?? '').toLowerCase(),
    tier,
    shaderF16: tier === 'T1' && features.has('shader-f16'),
    subgroupMinSize: hasSubgroups ? (info.subgroupMinSize ?? 4) : 0,
    subgroupMaxSize: hasSubgroups ? (info.subgroupMaxSize ?? 128) : 0,
    subgroupSizeControl: hasSubgroups && features.has('subgroup-size-control' as GPUFeatureName),
    matrices: null,
    matricesNote: '',
    maxWorkgroupBytes: limits.maxComputeWorkgroupStorageSize,
    maxWorkgroupInvocations: Math.min(
      limits.maxComputeInvocationsPerWorkgroup,
      limits.maxComputeWorkgroupSizeX,
    ),
    maxWorkgroupsPerDimension: limits.maxComputeWorkgroupsPerDimension,
    maxBindingBytes: limits.maxStorageBufferBindingSize,
    tuning: null,
    maxStorageBuffers: limits.maxStorageBuffersPerShaderStage,
  };
}
