import { createRuntime, type Runtime, type RuntimeOptions } from '../../src/index.js';
import { matricesOf, type MatrixName } from '../matrices/matrixDevices.js';
import { assert, type DeviceKind, type GpuCase } from '../platforms/gpuCase.js';

/** What a case of attention runs on, besides what it computes. */
export interface On {
  readonly device?: DeviceKind;
  readonly runtime?: RuntimeOptions;
  /** Subgroup matrices that are emulated, of which attention is to make use. */
  readonly matrices?: MatrixName;
}

/** The tiles of GPUs, whatever the device. */
export const GPU: On = { runtime: { deviceClass: 'gpu' } };

/** Prompts of all kinds beside decoding sequences. */
export const RAGGED = [
  [113, 203],
  [0, 17],
  [1, 1],
  [40, 7],
  [1, 830],
  [5, 0],
  [64, 64],
  [2, 611],
] as const;

/** Likewise, but with no sequence of a few tokens: attn_decode is compiled for one size of tile less. */
export const PROMPTS_AND_TOKENS = [
  [113, 203],
  [0, 17],
  [1, 1],
  [40, 7],
  [1, 830],
  [9, 0],
  [64, 64],
  [1, 611],
] as const;

/** What `check` does with each of the calls, as cases by their reasons. */
export function attentionCases<Call extends { readonly why: string }>(
  calls: readonly (Call & On)[],
  check: (runtime: Runtime, call: Call) => Promise<void>,
  prefix = '',
): GpuCase[] {
  return calls.map((call) => ({
    name: prefix + call.why,
    async run(t) {
      const device = await t.device(call.device ?? 'full');
      if (call.matrices) return checkOnMatrices(device, call.matrices, (runtime) => check(runtime, call));
      const runtime = createRuntime(device, call.runtime);
      try {
        await check(runtime, call);
      } finally {
        runtime.destroy();
      }
    },
  }));
}

async function checkOnMatrices(
  device: GPUDevice,
  matrices: MatrixName,
  check: (runtime: Runtime) => Promise<void>,
): Promise<void> {
  const { runtime, takeKernels } = await matricesOf(device, matrices);
  takeKernels();
  await check(runtime);
  assert(takeKernels().includes('attn_matrix'), 'attn_matrix did not run');
}
