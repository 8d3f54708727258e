import type { FloatDType } from '../../src/core/dtype.js';
import { checkKvCache } from '../attention/kvCacheCase.js';
import { checkVarlen } from '../attention/varlenCase.js';
import { matricesOf, MATRIX_NAMES, type MatrixName } from '../matrices/matrixDevices.js';
import { assertEqual } from '../platforms/gpuCase.js';
import { otherType } from './axes.js';
import type { Row } from './coveringArray.js';
import { kvCacheCase, kvCacheCells, type KvCacheCell } from './kvCacheCells.js';
import type { ConformanceSuite } from './selection.js';
import { varlenCases, varlenCells, type VarlenCell } from './varlenCells.js';

// The same calls on subgroup matrices of every shape that adapters list, and whether attn_matrix has taken them.

/** What decides about a tile. Heads are padded to multiples of 32. */
const MATRIX_AXES = { matrices: MATRIX_NAMES, headDim: [40, 64, 80, 128, 160, 256] } as const;

type OnMatrices<Cell> = Omit<Cell, 'tier' | 'headDim'> & Row<typeof MATRIX_AXES>;

export const varlenMatrixCells = onMatrices<VarlenCell>(varlenCells, async (matrices, cell, seed) => {
  for (const varlen of varlenCases(cell, seed)) {
    await checkVarlen(matrices.runtime, varlen);
    const rows = rowsOf(
      varlen,
      varlen.lengths.map(([sq]) => sq),
    );
    expectMatrices(matrices.takeKernels(), { ...varlen, componentType: matrices.componentType, rows });
  }
});

export const kvCacheMatrixCells = onMatrices<KvCacheCell>(kvCacheCells, async (matrices, cell, seed) => {
  const kvCase = kvCacheCase(cell, seed);
  await checkKvCache(matrices.runtime, kvCase);
  const rows = rowsOf(
    kvCase,
    kvCase.lengths.map(([, sq]) => sq),
  );
  expectMatrices(matrices.takeKernels(), { ...kvCase, componentType: matrices.componentType, rows });
});

type Matrices = Awaited<ReturnType<typeof matricesOf>>;

function onMatrices<Cell>(
  suite: unknown,
  check: (matrices: Matrices, cell: Cell, seed: number) => Promise<void>,
): ConformanceSuite {
  const { axes, kernelAxes, allows, cost } = suite as ConformanceSuite;
  // What is small enough for tests without matrices is not for these.
  const { tier: _, smallHeads: _small, ...others } = axes;
  const { tier: _tier, smallHeads: _smallHeads, ...otherKernels } = kernelAxes;
  return {
    axes: { ...others, ...MATRIX_AXES },
    kernelAxes: { ...otherKernels, ...MATRIX_AXES },
    allows: (cell) => allows(cell) && isForMatrices(cell as Partial<OnMatrices<VarlenCell>>),
    // Emulated, a multiplication takes some times as long.
    cost: (cell) => 4 * cost({ headDim: cell['kvDType'] === 'i4' || cell['turned'] ? 64 : 40, ...cell }),
    async check(device, cell, seed) {
      const matrices = await matricesOf(device, cell['matrices'] as MatrixName);
      matrices.takeKernels();
      await check(matrices, cell as Cell, seed);
    },
  };
}

/** Whether matrices hold what is stored, and a cell of wide heads is not too much for an emulation. */
function isForMatrices(cell: Partial<OnMatrices<VarlenCell>>): boolean {
  const { taker, headDim = 0 } = cell;
  return holdsTypes(cell) && !(taker === 'both' && headDim > 128);
}

/** Those of f16 hold no f32 of the caller's. */
function holdsTypes({ matrices, dtype, kvDType }: Partial<OnMatrices<VarlenCell>>): boolean {
  if (matrices === undefined || matrices.includes('f32')) return true;
  if (dtype === 'f32') return false;
  return dtype === undefined || kvDType !== 'other' || otherType(dtype) !== 'f32';
}

interface Expected {
  readonly componentType: 'f16' | 'f32';
  readonly headDim: number;
  readonly headDimV?: number;
  readonly dtype: FloatDType;
  /** Of each sequence. */
  readonly rows: readonly number[];
}

/** Rows of each sequence as the planner sees them. */
function rowsOf(
  { heads, onGpu }: { readonly heads: readonly [number, number]; readonly onGpu?: boolean },
  queries: readonly number[],
): number[] {
  const most = Math.max(...queries);
  return queries.map((sq) => ((onGpu ? most : sq) * heads[0]) / heads[1]);
}

/** Prompts are always for attn_matrix; steps of a few rows are where its tiles for them fit the device. */
function expectMatrices(kernels: readonly string[], expected: Expected): void {
  const { componentType, headDim, headDimV = headDim, rows } = expected;
  const most = Math.max(...rows);
  const steps = Math.max(headDim, headDimV) <= (componentType === 'f16' ? 128 : 64);
  if (most > 16 || (most >= 4 && steps))
    assertEqual(kernels.includes('attn_matrix'), true, `attn_matrix among ${kernels.join(', ')}`);
}
