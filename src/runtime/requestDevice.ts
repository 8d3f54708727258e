import { checkNames, namesOf } from '../core/checkArguments.js';
import { describe, fail } from '../core/errors.js';
import { MATRIX_FEATURE, noteAdapter, SUBGROUP_SIZE_FEATURE } from './adapterInfo.js';

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
const HELPFUL_FEATURES: readonly GPUFeatureName[] = [
  'shader-f16',
  'subgroups',
  SUBGROUP_SIZE_FEATURE,
  MATRIX_FEATURE,
  'timestamp-query',
];

/** Limits that allow bigger tiles, bigger caches and fewer dispatches than the defaults. */
export const HELPFUL_LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
] as const satisfies readonly (keyof GPUSupportedLimits)[];

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
  noteAdapter(device, adapter);
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
