import { attnVarlen, mergeStates, type AttentionState, type Tensor } from '../../src/index.js';
import { download } from '../../tools/deviceTensor.js';
import type { GpuCase } from '../platforms/gpuCase.js';
import { checkMerge, type MergeCase } from './mergeCase.js';
import { checkMerged } from '../reference/tolerance.js';
import { draw, place, type VarlenCase } from './varlenCase.js';
import { withRuntime } from '../platforms/withRuntime.js';

const some = (part: number, row: number): boolean => isThird(part, row) || row === 4;

/** Never all parts of a row. */
const isThird = (part: number, row: number): boolean => (part * 7 + row) % 3 === 0;

/** A few units apart, and so far from zero that f32 has few digits after the point. */
const far =
  (from: number) =>
  (part: number, row: number): number =>
    from + ((part * 7 + row) % 5);

const table: readonly MergeCase[] = [
  { why: 'one part is itself', nParts: 1, shape: [2, 3, 4, 64] },
  { why: 'two, ragged', nParts: 2, shape: [7, 4, 64] },
  { why: 'two, some empty', nParts: 2, shape: [2, 3, 4, 64], isEmpty: some },
  { why: 'three, one after the other', nParts: 3, shape: [2, 3, 4, 64], isEmpty: some },
  { why: 'five, an odd head of halves', nParts: 5, shape: [7, 3, 59], dtype: 'f16', isEmpty: some },
  { why: 'two whose lse is far from zero', nParts: 2, shape: [2, 3, 4, 64], lseOf: far(1e6) },
  {
    why: 'seven, one after the other, whose lse is far from zero',
    nParts: 7,
    shape: [7, 4, 64],
    isEmpty: isThird,
    lseOf: far(-1e6),
  },
  {
    why: '17 views of one buffer, far from zero',
    nParts: 17,
    shape: [7, 4, 64],
    lseOf: far(1e6),
    stacked: true,
  },
  {
    why: 'an lse at either end of f32',
    nParts: 5,
    shape: [7, 4, 64],
    isEmpty: isThird,
    lseOf: (part, row) => ((part + row) % 2 === 0 ? 3.4e38 : -3.4e38),
  },
  {
    why: 'an lse of −3e38 counts where there is no other',
    nParts: 3,
    shape: [7, 4, 64],
    isEmpty: isThird,
    lseOf: () => -3e38,
  },
  {
    why: '65 views of one buffer, an lse at either end of f32',
    nParts: 65,
    shape: [3, 2, 64],
    isEmpty: some,
    lseOf: (part, row) => ((part + row) % 2 === 0 ? 3.4e38 : -3.4e38),
    stacked: true,
  },
  { why: 'all of 64 empty', nParts: 64, shape: [3, 4, 64], isEmpty: () => true, stacked: true },
  { why: 'all empty', nParts: 3, shape: [3, 4, 64], isEmpty: () => true },
  ...[17, 32, 55, 97, 133].map((nParts) => ({
    why: `${nParts} views of one buffer`,
    nParts,
    shape: [3, 2, 40],
    isEmpty: some,
    stacked: true,
  })),
  ...(
    [
      [8, 1, 'f32'],
      [33, 5, 'bf16'],
      [64, 128, 'f16'],
      [65, 80, 'f32'],
      [300, 128, 'bf16'],
      [1000, 256, 'f32'],
    ] as const
  ).map(([nParts, headDim, dtype]) => ({
    why: `${nParts} views of one buffer, heads of ${headDim}, ${dtype}`,
    nParts,
    shape: [2, 2, headDim],
    dtype,
    isEmpty: some,
    stacked: true,
  })),
];

export const cases: GpuCase[] = [
  ...table.map((mergeCase): GpuCase => ({
    name: mergeCase.why,
    run: (t) => withRuntime(t, (runtime) => checkMerge(runtime, mergeCase)),
  })),
  {
    name: 'attention over two halves of the keys, merged, is attention over all of them',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const varlen: VarlenCase = { why: '', lengths: [[5, 90]], heads: [4, 2], headDim: 64, dtype: 'f32' };
        const { args } = place(device, varlen, draw(varlen));
        const over = (first: number, end: number) => {
          const keys = (tensor: Tensor): Tensor => ({
            ...tensor,
            shape: [end - first, ...tensor.shape.slice(1)],
            offset: first * 2 * 64,
          });
          const part = { k: keys(args.k), v: keys(args.v), cuSeqlensK: [0, end - first] };
          return attnVarlen(runtime, { ...args, ...part, returnLse: true });
        };
        const whole = over(0, 90);
        const parts = [over(0, 33), over(33, 90)] as AttentionState[];
        const merged = mergeStates(runtime, { parts });
        checkMerged('out', {
          actual: await download(device, merged.out),
          reference: await download(device, whole.out),
        });
        checkMerged('lse', {
          actual: await download(device, merged.lse),
          reference: await download(device, whole.lse!),
        });
      }),
  },
];
