import { createRuntime, requestDevice, type DeviceTraits } from '../../src/index.js';
import { gpuName } from '../advice.js';
import { formatBytes } from '../../tools/format.js';

/** A device, with its name and facts for the visitor. */
export interface Gpu {
  readonly device: GPUDevice;
  readonly traits: DeviceTraits;
  readonly name: string;
  /** Features and limits, with their values in words. */
  readonly facts: readonly (readonly [label: string, value: string])[];
}

/** Ask the browser for the visitor's GPU. */
export async function openGpu(): Promise<Gpu> {
  const device = await requestDevice();
  const runtime = createRuntime(device);
  const { traits } = runtime;
  runtime.destroy();
  return { device, traits, name: gpuName(device), facts: factsOf(device, traits) };
}

function factsOf({ features, limits }: GPUDevice, traits: DeviceTraits): Gpu['facts'] {
  const { subgroupMinSize: least, subgroupMaxSize: most } = traits;
  const sizes = least === most ? `of ${least}` : `of ${least} to ${most}`;
  return [
    ['Runs shaders on', traits.deviceClass === 'software' ? 'the CPU' : 'the GPU'],
    ['shader-f16', features.has('shader-f16') ? 'yes' : 'no: f16 is unpacked to f32'],
    ['subgroups', features.has('subgroups') ? sizes : 'no'],
    ['Workgroup memory', formatBytes(limits.maxComputeWorkgroupStorageSize)],
    ['Largest binding', formatBytes(limits.maxStorageBufferBindingSize)],
    ['Largest buffer', formatBytes(limits.maxBufferSize)],
  ];
}
