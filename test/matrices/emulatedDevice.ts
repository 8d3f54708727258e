import type { EmulatedMatrices } from './emulatedFunctions.js';
import { emulateMatrices, MATRIX_EXTENSION } from './emulation.js';

/** What an emulated device has. */
export interface EmulatedDevice extends EmulatedMatrices {
  /** The sizes of subgroups that its adapter tells. Default: both that of the matrices. */
  readonly subgroupMinSize?: number;
  readonly subgroupMaxSize?: number;
}

const emulated = new WeakMap<GPUDevice, Map<string, GPUDevice>>();

/**
 * Returns the same device as one that has subgroup matrices of one shape: its features and adapterInfo tell so, and shader
 * modules that use them are emulated. The device is the same for equal `matrices`, as is what is kept by device.
 *
 * Other kernels run as they are, on the device's own subgroups. Where these have not the sizes that adapterInfo tells, the
 * feature `subgroups` is not among those that the device has, so that such kernels use none; whoever uses matrices finds
 * the size of their subgroups in adapterInfo all the same.
 */
export function withEmulatedMatrices(device: GPUDevice, matrices: EmulatedDevice): GPUDevice {
  const known = emulated.get(device) ?? new Map<string, GPUDevice>();
  emulated.set(device, known);
  const { M, N, K, componentType, subgroupSize } = matrices;
  const { subgroupMinSize = subgroupSize, subgroupMaxSize = subgroupSize } = matrices;
  const key = [M, N, K, componentType, subgroupSize, subgroupMinSize, subgroupMaxSize].join(' ');
  let made = known.get(key);
  if (!made)
    known.set(key, (made = emulatingDevice(device, { ...matrices, subgroupMinSize, subgroupMaxSize })));
  return made;
}

function emulatingDevice(device: GPUDevice, matrices: Required<EmulatedDevice>): GPUDevice {
  const replaced: Partial<Record<PropertyKey, unknown>> = {
    features: featuresOf(device, matrices),
    adapterInfo: infoOf(device, matrices),
    createShaderModule: (descriptor: GPUShaderModuleDescriptor) => {
      const { code } = descriptor;
      const isPlain = !code.includes(MATRIX_EXTENSION);
      return device.createShaderModule(
        isPlain ? descriptor : { ...descriptor, code: emulateMatrices(code, matrices) },
      );
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

function featuresOf(device: GPUDevice, { subgroupMinSize, subgroupMaxSize }: Required<EmulatedDevice>) {
  const own = device.adapterInfo;
  const features = new Set<string>(device.features);
  if (own.subgroupMinSize !== subgroupMinSize || own.subgroupMaxSize !== subgroupMaxSize)
    features.delete('subgroups');
  return features.add('chromium-experimental-subgroup-matrix');
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
