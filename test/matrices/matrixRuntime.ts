import { createRuntime, type Runtime, type RuntimeOptions } from '../../src/index.js';
import type { SelfTest } from '../../src/core/knownAnswer.js';
import type { DeviceTraits } from '../../src/core/deviceTraits.js';
import { FLOATS, QUANTISED, isQuantised } from '../../src/core/dtype.js';
import type { Tuning } from '../../src/core/tuning.js';
import { matrixTest } from '../../src/plan/knownAttention.js';
import { matrixDecodeCandidates } from '../../src/plan/matrixTile.js';
import { MATRIX_DECODE_SHAPE, shapeOf } from '../../src/plan/tunedTiles.js';
import { defaultTuning } from '../../src/tuning/variations.js';
import { assert } from '../platforms/gpuCase.js';

/** The part of the self-test that needs the fewest kernels. */
const part: SelfTest = (traits) => {
  for (const answer of matrixTest(traits)) if (answer.name === 'scores that grow') return [answer];
  return [];
};

/** A tuning by which attn_matrix takes all steps that it can. */
function stepsByMatrices(traits: DeviceTraits): Tuning {
  const sizes = [1, 2, 3, 4, 5, 6, 7, 8].map((n) => 32 * n);
  const decode = [...FLOATS, ...QUANTISED].flatMap((kvDType) =>
    [4, 8, 16, 32].flatMap((rows) =>
      sizes.flatMap((headDim) =>
        sizes.flatMap((headDimV) => {
          const qDType = isQuantised(kvDType) ? 'f16' : kvDType;
          const args = { headDim, headDimV, qDType, kvDType, nRows: rows, paged: true };
          return matrixDecodeCandidates(traits, args)
            .slice(0, 1)
            .map((tile) => ({ headDim, headDimV, kvDType, rows, tile: shapeOf(tile, MATRIX_DECODE_SHAPE) }));
        }),
      ),
    ),
  );
  return { ...defaultTuning(traits, undefined), matrices: traits.matrices, decode };
}

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
  const untuned = createRuntime(device, { ...options, tier: 'T2' });
  const { candidate } = untuned;
  assert(candidate !== null, untuned.traits.matricesNote);
  const runtime = createRuntime(device, { ...options, tier: 'T2', tuning: stepsByMatrices(candidate) });
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
