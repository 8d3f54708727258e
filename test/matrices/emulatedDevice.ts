import { MATRIX_FEATURE, SUBGROUP_SIZE_FEATURE } from '../../src/runtime/adapterInfo.js';
import type { EmulatedMatrices } from './emulatedFunctions.js';
import { emulateMatrices, MATRIX_EXTENSION } from './emulation.js';

/** What an emulated device has. */
export interface EmulatedDevice extends EmulatedMatrices {
  /** The sizes of subgroups that its adapter tells. Default: both that of the matrices. */
  readonly subgroupMinSize?: number;
  readonly subgroupMaxSize?: number;
  /** Whether kernels may demand a size. Default: false. */
  readonly subgroupSizeControl?: boolean;
}

const emulated = new WeakMap<GPUDevice, Map<string, GPUDevice>>();

/**
 * Returns the same device as one that has subgroup matrices of one shape: its features and adapterInfo tell so, and shader
 * modules that use them are emulated. The device is the same for equal `matrices`, as is what is kept by device.
 *
 * Other kernels run as they are, on the device's own subgroups. Where these have not the sizes that adapterInfo tells, a
 * kernel that uses them is refused.
 */
export function withEmulatedMatrices(device: GPUDevice, matrices: EmulatedDevice): GPUDevice {
  const known = emulated.get(device) ?? new Map<string, GPUDevice>();
  emulated.set(device, known);
  const { M, N, K, componentType, subgroupSize } = matrices;
  const { subgroupMinSize = subgroupSize, subgroupMaxSize = subgroupSize } = matrices;
  const { subgroupSizeControl = false } = matrices;
  const sizes = { subgroupMinSize, subgroupMaxSize, subgroupSizeControl };
  const key = [M, N, K, componentType, subgroupSize, ...Object.values(sizes)].join(' ');
  let made = known.get(key);
  if (!made) known.set(key, (made = emulatingDevice(device, { ...matrices, ...sizes })));
  return made;
}

function emulatingDevice(device: GPUDevice, matrices: Required<EmulatedDevice>): GPUDevice {
  const replaced: Partial<Record<PropertyKey, unknown>> = {
    features: featuresOf(device, matrices),
    limits: limitsOf(device),
    adapterInfo: infoOf(device, matrices),
    createShaderModule: (descriptor: GPUShaderModuleDescriptor) => {
      const { code } = descriptor;
      if (code.includes(MATRIX_EXTENSION))
        return device.createShaderModule({ ...descriptor, code: emulateMatrices(code, matrices) });
      if (/\benable\s+subgroups\b/.test(code) && !areWithin(device, matrices))
        throw new Error(`${descriptor.label} would run on the device's own subgroups.`);
      return device.createShaderModule(descriptor);
    },
  };
  return new Proxy(device, {
    get(target, name) {
      if (name in replaced) return replaced[name];
      // Methods and getters of WebGPU want the device itself.
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
    set: (target, name, value) => Reflect.set(target, name, value, target),
  });
}

/** Whether the device's own subgroups have sizes that adapterInfo tells. */
function areWithin(
  { features, adapterInfo: own }: GPUDevice,
  { subgroupMinSize, subgroupMaxSize }: Required<EmulatedDevice>,
): boolean {
  const { subgroupMinSize: least = 0, subgroupMaxSize: most = Infinity } = own;
  return features.has('subgroups') && subgroupMinSize <= least && most <= subgroupMaxSize;
}

function featuresOf(device: GPUDevice, { subgroupSizeControl }: Required<EmulatedDevice>): Set<string> {
  const features = new Set<string>(device.features);
  features.delete(SUBGROUP_SIZE_FEATURE);
  if (subgroupSizeControl) features.add(SUBGROUP_SIZE_FEATURE);
  return features.add('subgroups').add(MATRIX_FEATURE);
}

/** Invocations exchange through workgroup memory, of which the device has less then. */
function limitsOf({ limits }: GPUDevice): GPUSupportedLimits {
  const maxInvocations = Math.min(512, limits.maxComputeInvocationsPerWorkgroup);
  const told: Partial<Record<PropertyKey, number>> = {
    maxComputeInvocationsPerWorkgroup: maxInvocations,
    maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize - 4 * maxInvocations,
  };
  return new Proxy(limits, {
    get: (target, name) => told[name] ?? (Reflect.get(target, name, target) as unknown),
  });
}

function infoOf({ adapterInfo }: GPUDevice, matrices: Required<EmulatedDevice>) {
  const { vendor, architecture, device, description, isFallbackAdapter } = adapterInfo;
  const { M, N, K, componentType, subgroupSize, subgroupMinSize, subgroupMaxSize } = matrices;
  const shape = `${componentType} ${M}×${N}×${K} on ${subgroupSize} lanes`;
  return {
    vendor,
    architecture,
    device,
    // Another driver as far as matrices go, for what is remembered about it.
    description: `${description}, emulated matrices ${shape}`,
    isFallbackAdapter,
    subgroupMinSize,
    subgroupMaxSize,
    subgroupMatrixConfigs: [{ componentType, resultComponentType: 'f32', M, N, K }],
  };
}
