import { createRuntime, type Runtime, type RuntimeOptions } from '../../src/index.js';
import type { SelfTest } from '../../src/core/knownAnswer.js';
import { matrixTest } from '../../src/plan/knownAttention.js';
import { assert } from '../platforms/gpuCase.js';

/** The part of the self-test that needs the fewest kernels. */
const part: SelfTest = (traits) => {
  for (const answer of matrixTest(traits)) if (answer.name === 'scores that grow') return [answer];
  return [];
};

/** A runtime that uses the matrices of its device, and what it has run. */
export interface MatrixRuntime {
  readonly runtime: Runtime;
  /** Names of the kernels that ran since the last call. */
  takeKernels(): string[];
}

/** Returns a runtime that uses the matrices of its device, which have passed a part of their self-test. */
export async function matrixRuntime(
  device: GPUDevice,
  options: Omit<RuntimeOptions, 'tier'> = {},
): Promise<MatrixRuntime> {
  const runtime = createRuntime(device, { ...options, tier: 'T2' });
  await runtime.testMatrices('matrixRuntime', part, undefined);
  assert(runtime.traits.tier === 'T2', runtime.traits.matricesNote);
  const kernels: string[] = [];
  const { submit } = runtime;
  runtime.submit = (dispatches) => {
    kernels.push(...dispatches.map(({ kernel }) => kernel.name));
    submit.call(runtime, dispatches);
  };
  return { runtime, takeKernels: () => kernels.splice(0) };
}
