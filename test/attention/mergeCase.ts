import { roundTo, type FloatDType } from '../../src/core/dtype.js';
import { elementCount } from '../../src/core/tensor.js';
import { mergeStates, type AttentionState, type Runtime } from '../../src/index.js';
import { mergeStatesReference, type HostTensor } from '../../src/reference/attention.js';
import { download, upload } from '../../tools/deviceTensor.js';
import { assertEqual } from '../platforms/gpuCase.js';
import { Random } from '../../tools/random.js';
import { checkMerged, checkRotated } from '../reference/tolerance.js';

/** Parts to merge, drawn from a seed. */
export interface MergeCase {
  readonly why: string;
  readonly nParts: number;
  /** [B, Sq, Hq, Dv] or [totalQ, Hq, Dv] */
  readonly shape: readonly number[];
  readonly dtype?: FloatDType;
  /** Which parts of a row saw no key; their out is NaN. */
  readonly isEmpty?: (part: number, row: number) => boolean;
  /** The lse of each row of a part, which is not empty. Default: normal numbers. */
  readonly lseOf?: (part: number, row: number) => number;
  /** Parts are views of one buffer. */
  readonly stacked?: boolean;
  readonly seed?: number;
}

/** Runs the case on the runtime and compares with the reference. */
export async function checkMerge(runtime: Runtime, mergeCase: MergeCase): Promise<void> {
  const { device } = runtime;
  const { shape, dtype = 'f32' } = mergeCase;
  const parts = drawParts(mergeCase);
  const want = mergeStatesReference(parts);
  const placed = placeParts(device, mergeCase, parts);
  const got = mergeStates(runtime, { parts: placed });
  assertEqual(got.out.shape, shape, 'shape of out');
  const out = { actual: await download(device, got.out), reference: want.out.data };
  const lse = { actual: await download(device, got.lse), reference: want.lse.data };
  for (const { buffer } of [...placed.flatMap((part) => [part.out, part.lse]), got.out, got.lse])
    buffer.destroy();
  if (dtype === 'f32') checkMerged('out', out);
  else checkRotated('out', out, dtype); // one rounding of the type
  if (mergeCase.lseOf)
    checkRotated('lse', lse, 'f32'); // one rounding, however large
  else checkMerged('lse', lse);
}

interface Part {
  readonly out: HostTensor;
  readonly lse: HostTensor;
}

function drawParts({
  nParts,
  shape,
  dtype = 'f32',
  isEmpty = () => false,
  lseOf,
  seed = nParts,
}: MergeCase): Part[] {
  const random = new Random(seed);
  const [tokens, nHeads, headDim] = shape.slice(-3) as [number, number, number];
  const lseShape = [...shape.slice(0, -3), nHeads, tokens];
  return Array.from({ length: nParts }, (_, part) => {
    const lse = random
      .normals(elementCount(lseShape))
      .map((x, row) => (isEmpty(part, row) ? -Infinity : (lseOf?.(part, row) ?? 5 * x)));
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
    const type = name === 'out' ? dtype : 'f32';
    const { buffer } = upload(device, type, [parts.length, ...shape], data);
    return parts.map((_, i) => ({ buffer, dtype: type, shape, offset: i * elementCount(shape) }));
  };
  const [outs, lses] = [stack('out'), stack('lse')];
  return outs.map((out, i) => ({ out, lse: lses[i]! }));
}
