import { createRuntime, type Runtime, type Tier } from '../../src/index.js';

const runtimes = new WeakMap<GPUDevice, Map<Tier, Runtime>>();

/** One runtime for all cases on a device that do not look at its inside, since what costs is to compile kernels. */
export function sharedRuntime(device: GPUDevice, tier: Tier = 'T1'): Runtime {
  const ofDevice = runtimes.get(device) ?? new Map<Tier, Runtime>();
  runtimes.set(device, ofDevice);
  const runtime = ofDevice.get(tier) ?? createRuntime(device, { tier });
  ofDevice.set(tier, runtime);
  return runtime;
}
