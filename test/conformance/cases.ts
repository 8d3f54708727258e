import type { GpuCase } from '../platforms/gpuCase.js';
import { bindsTen } from './axes.js';
import { kvCacheCells } from './kvCacheCells.js';
import { kvCacheMatrixCells, varlenMatrixCells } from './matrixCells.js';
import { mergeCells } from './mergeCells.js';
import { draw, select, type ConformanceSuite, type KernelCells, type SelectionOptions } from './selection.js';
import { varlenCells } from './varlenCells.js';
import { cacheWeightsCells, weightsCells } from './weightsCells.js';

/** The families of calls by the name that `npm run test:full` knows them by. */
export const conformanceSuites = {
  varlen: varlenCells as unknown as ConformanceSuite,
  kvCache: kvCacheCells as unknown as ConformanceSuite,
  merge: mergeCells as unknown as ConformanceSuite,
  weights: weightsCells as unknown as ConformanceSuite,
  cacheWeights: cacheWeightsCells as unknown as ConformanceSuite,
  varlenMatrix: varlenMatrixCells,
  kvCacheMatrix: kvCacheMatrixCells,
} as const;

export type SuiteName = keyof typeof conformanceSuites;

/** The fixed choices of cells: with every pair of values, or with every value, for platforms that compile slowly. */
export const SELECTIONS = {
  pairs: { strength: 2, maxCost: 2e8, withDear: true, seed: 1 },
  values: { strength: 1, maxCost: 6e7, withDear: false, isFor: bindsTen, seed: 1 },
} as const satisfies Readonly<Record<string, SelectionOptions>>;

export type SelectionName = keyof typeof SELECTIONS;

const selected = new Map<string, readonly GpuCase[]>();

/** A fixed choice of cells as cases, one for each set of kernels. It takes seconds to choose, and is done once. */
export function conformanceCases(name: SuiteName, selection: SelectionName): readonly GpuCase[] {
  const key = `${name}-${selection}`;
  const cases =
    selected.get(key) ??
    select(conformanceSuites[name], SELECTIONS[selection]).map((chosen, i) => caseOf(name, chosen, 1000 * i));
  selected.set(key, cases);
  return cases;
}

/** Multiplications of a cell at random: some seconds for the CPU. */
const MAX_COST = 6e8;

/** Cells at random as a case, the same ones for the same seed. */
export function randomCase(name: SuiteName, seed: number): GpuCase {
  return caseOf(name, draw(conformanceSuites[name], { nCells: 8, maxCost: MAX_COST, seed }), seed);
}

function caseOf(name: SuiteName, { kernel, cells }: KernelCells, seed: number): GpuCase {
  return {
    name: Object.entries(kernel)
      .map(([axis, value]) => `${axis} ${String(value)}`)
      .join(', '),
    cells: cells.length,
    async run(t) {
      const device = await t.device();
      for (const [i, cell] of cells.entries()) await checkCell(name, { device, cell, seed: seed + i });
    },
  };
}

export interface CellArgs {
  readonly device: GPUDevice;
  readonly cell: Readonly<Record<string, unknown>>;
  readonly seed: number;
}

/** Runs one cell; what it throws says how to run it again. */
export async function checkCell(name: SuiteName, { device, cell, seed }: CellArgs): Promise<void> {
  try {
    await conformanceSuites[name].check(device, cell, seed);
  } catch (error) {
    (error as Error).message +=
      `\nAgain: npm run test:full -- --suite ${name} --seed ${seed} --cell '${JSON.stringify(cell)}'`;
    throw error;
  }
}
