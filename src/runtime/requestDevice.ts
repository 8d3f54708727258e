import { PageflashError } from '../core/errors.js';
import { checkDeviceOptions } from './checkArguments.js';

export interface RequestDeviceOptions extends GPURequestAdapterOptions {
  /** Where to look for an adapter. Default `navigator.gpu`. It is kept for as long as the program runs. */
  readonly gpu?: GPU | undefined;
  readonly label?: string | undefined;
}

/** Features that make a kernel faster or a measurement possible. */
const HELPFUL_FEATURES = [
  'shader-f16',
  'subgroups',
  'timestamp-query',
] as const satisfies readonly GPUFeatureName[];

/** Limits that allow bigger tiles and bigger caches than the defaults. */
const HELPFUL_LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
] as const satisfies readonly (keyof GPUSupportedLimits)[];

// Deno 2.9 ends with a panic when a device is asked for its adapterInfo and nobody holds the adapter any more.
const adapters = new WeakMap<GPUDevice, GPUAdapter>();

// Node ends with a crash where what `create` of the package webgpu gave is garbage before its devices are, which at the
// end of a program are garbage in any order. So it outlives them all.
const sources = new Set<GPU>();

/**
 * A device with every optional feature and limit that helps and that the adapter has.
 *
 * @throws PageflashError `device` where there is no WebGPU or no adapter; `argument` for an option that there is not
 */
export async function requestDevice(options: RequestDeviceOptions = {}): Promise<GPUDevice> {
  checkDeviceOptions(options);
  const { gpu = globalThis.navigator?.gpu, label = 'pageflash', ...adapterOptions } = options;
  if (!gpu) {
    throw new PageflashError(
      'device',
      'requestDevice: this environment has no WebGPU (navigator.gpu is missing). Use a browser that has it, over https or localhost. In Node, install the package webgpu and pass { gpu: create([]) }.',
    );
  }
  sources.add(gpu);
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance', ...adapterOptions });
  if (!adapter) {
    throw new PageflashError(
      'device',
      'requestDevice: no GPU adapter was found. Install a graphics driver (on Linux one for Vulkan, such as mesa-vulkan-drivers), or allow WebGPU in the browser.',
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
