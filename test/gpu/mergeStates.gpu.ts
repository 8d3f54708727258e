import type { FloatDType } from '../../src/core/dtype.js';
import { roundTo } from '../../src/core/halves.js';
import { elementCount } from '../../src/core/tensor.js';
import { attnVarlen, mergeStates, type AttentionState } from '../../src/index.js';
import { mergeStatesReference, type HostTensor } from '../../src/reference/attention.js';
import { download, upload } from '../support/deviceTensor.js';
import { assertEqual, type GpuCase } from '../support/gpuCase.js';
import { Random } from '../support/random.js';
import { checkMerged, checkRotated } from '../support/tolerance.js';
import { draw, place, type VarlenCase } from '../support/varlenCase.js';
import { withRuntime } from '../support/withRuntime.js';

/** Parts to merge, drawn from a seed. */
interface MergeCase {
  readonly why: string;
  readonly nParts: number;
  /** [B, Sq, Hq, Dv] or [totalQ, Hq, Dv] */
  readonly shape: readonly number[];
  readonly dtype?: FloatDType;
  /** Which parts of a row saw no key; their out is NaN. */
  readonly isEmpty?: (part: number, row: number) => boolean;
  /** Parts are views of one buffer. */
  readonly stacked?: boolean;
}

const some = (part: number, row: number): boolean => (part * 7 + row) % 3 === 0 || row === 4;

const table: readonly MergeCase[] = [
  { why: 'one part is itself', nParts: 1, shape: [2, 3, 4, 64] },
  { why: 'two, ragged', nParts: 2, shape: [7, 4, 64] },
  { why: 'two, some empty', nParts: 2, shape: [2, 3, 4, 64], isEmpty: some },
  { why: 'three, one after the other', nParts: 3, shape: [2, 3, 4, 64], isEmpty: some },
  { why: 'five, an odd head of halves', nParts: 5, shape: [7, 3, 59], dtype: 'f16', isEmpty: some },
  { why: 'all empty', nParts: 3, shape: [3, 4, 64], isEmpty: () => true },
  ...[17, 32, 55, 97, 133].map((nParts) => ({
    why: `${nParts} views of one buffer`,
    nParts,
    shape: [3, 2, 40],
    isEmpty: some,
    stacked: true,
  })),
];

export const cases: GpuCase[] = [
  ...table.map((mergeCase): GpuCase => ({
    name: mergeCase.why,
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const parts = drawParts(mergeCase);
        const want = mergeStatesReference(parts);
        const got = mergeStates(runtime, { parts: placeParts(runtime.device, mergeCase, parts) });
        assertEqual(got.out.shape, mergeCase.shape, 'shape of out');
        const { dtype = 'f32' } = mergeCase;
        const out = { actual: await download(runtime.device, got.out), reference: want.out.data };
        if (dtype === 'f32') checkMerged('out', out);
        else checkRotated('out', out, dtype); // one rounding of the type
        checkMerged('lse', { actual: await download(runtime.device, got.lse), reference: want.lse.data });
      }),
  })),
  {
    name: 'attention over two halves of the keys, merged, is attention over all of them',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const varlen: VarlenCase = { why: '', lengths: [[5, 90]], heads: [4, 2], headDim: 64, dtype: 'f32' };
        const { args } = place(device, varlen, draw(varlen));
        const over = (cuSeqlensK: number[]) => attnVarlen(runtime, { ...args, cuSeqlensK, returnLse: true });
        const whole = over([0, 90]);
        const parts = [over([0, 33]), over([33, 90])] as AttentionState[];
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

interface Part {
  readonly out: HostTensor;
  readonly lse: HostTensor;
}

function drawParts({ nParts, shape, dtype = 'f32', isEmpty = () => false }: MergeCase): Part[] {
  const random = new Random(nParts);
  const [tokens, nHeads, headDim] = shape.slice(-3) as [number, number, number];
  const lseShape = [...shape.slice(0, -3), nHeads, tokens];
  return Array.from({ length: nParts }, (_, part) => {
    const lse = random
      .normals(elementCount(lseShape))
      .map((x, row) => (isEmpty(part, row) ? -Infinity : 5 * x));
    const out = random.normals(elementCount(shape)).map((x, i) => {
      const token = Math.floor(i / (nHeads * headDim));
      const head = Math.floor(i / headDim) % nHeads;
      const row = (Math.floor(token / tokens) * nHeads + head) * tokens + (token % tokens);
      return lse[row] === -Infinity ? NaN : roundTo(dtype, x);
    });
    return { out: { shape, data: out }, lse: { shape: lseShape, data: lse } };
  });
}

function placeParts(
  device: GPUDevice,
  { dtype = 'f32', stacked }: MergeCase,
  parts: readonly Part[],
): AttentionState[] {
  if (!stacked) {
    return parts.map(({ out, lse }) => ({
      out: upload(device, dtype, out.shape, out.data),
      lse: upload(device, 'f32', lse.shape, lse.data),
    }));
  }
  const stack = (name: 'out' | 'lse') => {
    const { shape } = parts[0]![name];
    const data = parts.flatMap((part) => [...part[name].data]);
    const { buffer } = upload(device, 'f32', [parts.length, ...shape], data);
    return parts.map((_, i) => ({ buffer, dtype: 'f32' as const, shape, offset: i * elementCount(shape) }));
  };
  const [outs, lses] = [stack('out'), stack('lse')];
  return outs.map((out, i) => ({ out, lse: lses[i]! }));
}
