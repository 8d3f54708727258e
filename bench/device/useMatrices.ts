import type { SelfTest } from '../../src/core/knownAnswer.js';
import { createRuntime, type Runtime } from '../../src/index.js';
import { matrixTest } from '../../src/plan/knownAttention.js';

const CALLER = 'bench';

/** Devices whose matrices have passed the whole self-test. */
const tested = new WeakSet<GPUDevice>();

/** One call of the self-test, for further runtimes on such a device. */
const oneCall: SelfTest = (traits) => [...matrixTest(traits)].slice(0, 1);

/** Whether a device has subgroup matrices that kernels would use. */
export function mayUseMatrices(device: GPUDevice): boolean {
  return createRuntime(device).candidate !== null;
}

/** Lets a runtime use the subgroup matrices of its device, as `prepare` would, if there are any and they are right. */
export async function useMatrices(runtime: Runtime): Promise<void> {
  const { device } = runtime;
  await runtime.testMatrices(CALLER, tested.has(device) ? oneCall : matrixTest, undefined);
  if (runtime.traits.matrices) tested.add(device);
}
