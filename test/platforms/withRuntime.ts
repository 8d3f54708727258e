import { createRuntime, type Runtime, type Tier } from '../../src/index.js';
import type { GpuTest } from './gpuCase.js';

/** A runtime of its own on the platform's device with every feature, for as long as `use` takes. */
export async function withRuntime(t: GpuTest, use: (runtime: Runtime) => Promise<void>): Promise<void> {
  const runtime = createRuntime(await t.device('full'));
  try {
    await use(runtime);
  } finally {
    runtime.destroy();
  }
}

const shared = new WeakMap<GPUDevice, Map<Tier, Runtime>>();

/** The runtime that cases on a device share, so that each kernel is compiled once for all of them. */
export function sharedRuntime(device: GPUDevice, tier: Tier = 'T1'): Runtime {
  const ofDevice = shared.get(device) ?? new Map<Tier, Runtime>();
  shared.set(device, ofDevice);
  const runtime = ofDevice.get(tier) ?? createRuntime(device, { tier });
  ofDevice.set(tier, runtime);
  return runtime;
}
