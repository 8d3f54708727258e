import { attnVarlen, attnWithKvCache } from '../../src/index.js';
import { checkGolden } from '../attention/golden.gpu.js';
import { assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { goldenNames, loadGolden } from '../reference/golden.js';
import { matricesOf } from './matrixDevices.js';

/** Results of PyTorch: halves on matrices of f16, f32 on those of f32. */
export const cases: GpuCase[] = goldenNames.map((name) => ({
  name: `${name} on subgroup matrices`,
  run: async (t) => {
    const golden = await loadGolden(name);
    const matrices = golden.dtype === 'f32' ? '8×8×8 of f32 by 32' : '8×8×8 of f16 by 8';
    const { runtime, takeKernels } = await matricesOf(await t.device('full'), matrices);
    takeKernels();
    await checkGolden(golden, {
      device: runtime.device,
      varlen: (args) => attnVarlen(runtime, args),
      kvCache: (args) => attnWithKvCache(runtime, args),
    });
    const kernels = takeKernels();
    if (golden.fn === 'attnVarlen')
      assertEqual(kernels.includes('attn_matrix'), true, `attn_matrix among ${kernels.join(', ')}`);
  },
}));
