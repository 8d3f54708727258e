import type { FloatDType } from '../../src/core/dtype.js';
import { sharedRuntime } from '../platforms/withRuntime.js';
import { checkMerge } from '../attention/mergeCase.js';
import { Random } from '../../tools/random.js';
import type { Row } from './coveringArray.js';
import type { ConformanceSuite } from './selection.js';

/** What decides which kernels are compiled. */
const KERNEL_AXES = {
  dtype: ['f32', 'f16', 'bf16'] as readonly FloatDType[],
  headDim: [40, 59, 64, 256, 512],
} as const;

const AXES = {
  ...KERNEL_AXES,
  layout: ['dense', 'ragged'],
  nParts: [1, 2, 3, 5, 17, 32, 55, 97, 133],
  empty: ['none', 'some', 'all'],
  memory: ['apart', 'one buffer'],
} as const;

type Cell = Row<typeof AXES>;

export const mergeCells: ConformanceSuite<typeof AXES> = {
  axes: AXES,
  kernelAxes: KERNEL_AXES,
  allows: () => true,
  cost: ({ nParts = 1, headDim = 40 }) => nParts * headDim * ROWS,
  check: (device, cell, seed) => checkMerge(sharedRuntime(device), caseOf(cell, seed)),
};

const ROWS = 24;

function caseOf({ nParts, empty, memory, layout, headDim, dtype }: Cell, seed: number) {
  const random = new Random(seed);
  const isEmpty = Array.from({ length: nParts * ROWS }, () => random.uniform() < 0.4);
  return {
    why: '',
    nParts,
    dtype,
    shape: layout === 'dense' ? [2, 3, 4, headDim] : [6, 4, headDim],
    isEmpty: (part: number, row: number) =>
      empty === 'all' || (empty === 'some' && (isEmpty[part * ROWS + row]! || row === 4)),
    stacked: memory === 'one buffer',
    seed,
  };
}
