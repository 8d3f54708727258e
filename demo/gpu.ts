import { formatBytes } from '../tools/format.js';
import { createRuntime, requestDevice, type DeviceTraits } from '../src/index.js';

/** A device, and what can be said about it. */
export interface Gpu {
  readonly device: GPUDevice;
  readonly traits: DeviceTraits;
  readonly name: string;
  /** Feature or limit, and its value, in words. */
  readonly facts: readonly (readonly [label: string, value: string])[];
}

/** Asks the browser for the visitor's GPU. */
export async function openGpu(): Promise<Gpu> {
  const device = await requestDevice();
  const runtime = createRuntime(device);
  const { traits } = runtime;
  runtime.destroy();
  return { device, traits, name: nameOf(device), facts: factsOf(device, traits) };
}

function nameOf(device: GPUDevice): string {
  const info: Partial<GPUAdapterInfo> = device.adapterInfo ?? {};
  const model = info.description || info.device;
  // Most browsers tell no more than the vendor and the family.
  const family = [info.vendor, info.architecture].filter(Boolean).join(' ');
  return model || family || 'A GPU that the browser does not name';
}

function factsOf({ features, limits }: GPUDevice, traits: DeviceTraits): Gpu['facts'] {
  const { subgroupMinSize: least, subgroupMaxSize: most } = traits;
  const sizes = least === most ? `of ${least}` : `of ${least} to ${most}`;
  return [
    ['Runs shaders on', traits.deviceClass === 'software' ? 'the CPU' : 'the GPU'],
    ['shader-f16', features.has('shader-f16') ? 'yes' : 'no: halves are unpacked'],
    ['subgroups', features.has('subgroups') ? sizes : 'no'],
    ['Workgroup memory', formatBytes(limits.maxComputeWorkgroupStorageSize)],
    ['Largest binding', formatBytes(limits.maxStorageBufferBindingSize)],
    ['Largest buffer', formatBytes(limits.maxBufferSize)],
  ];
}
