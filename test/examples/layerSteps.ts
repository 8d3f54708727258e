import { SHAPE, type LayerWeights } from '../../examples/bare-webgpu/attentionLayer.js';
import { attnVarlenReference } from '../../src/reference/attention.js';
import { countReads } from '../../tools/countReads.js';
import { Random } from '../../tools/random.js';
import { assert, assertEqual } from '../platforms/gpuCase.js';

type Numbers = Float32Array<ArrayBuffer>;

const { hidden, nHeads, nKvHeads, headDim } = SHAPE;
const QKV = (nHeads + 2 * nKvHeads) * headDim;

/** New tokens of two chats: prompts, a token each, and both at once. Pages of 8 are filled and passed. */
const STEPS = [
  [3, 9],
  [1, 1],
  [7, 1],
] as const;

const random = new Random(15);
const normals = (n: number, scale = 1): Numbers => Float32Array.from(random.normals(n), (x) => x * scale);

export const weights: LayerWeights = {
  qkv: normals(QKV * hidden, 1 / Math.sqrt(hidden)),
  out: normals(hidden * nHeads * headDim, 1 / Math.sqrt(nHeads * headDim)),
};

/** How an engine takes a step: the rows of x go in, and y [tokens, hidden] stays with it until it is read. */
export interface SteppedLayer {
  readonly device: GPUDevice;
  readonly write: (x: Numbers) => void;
  readonly step: (nNew: readonly number[]) => Promise<void> | void;
  readonly readY: (nTokens: number) => Promise<ArrayLike<number>>;
}

/** Takes all steps, compares each with the reference, and sees that nothing comes back to the CPU meanwhile. */
export async function checkSteps({ device, write, step, readY }: SteppedLayer): Promise<void> {
  const known = STEPS[0].map((): Numbers[] => []);
  for (const nNew of STEPS) {
    const rows = nNew.map((n) => Array.from({ length: n }, () => normals(hidden)));
    rows.forEach((ofChat, b) => known[b]!.push(...ofChat));
    const x = joined(rows.flat());
    const reads = await countReads(device, async () => {
      write(x);
      await step(nNew);
    });
    assertEqual(reads.buffers, 0, `buffers mapped in the step of ${nNew}`);
    assertEqual(reads.bytes, 0, `bytes read back in the step of ${nNew}`);

    const expected = expectedRows(known, nNew);
    let y: ArrayLike<number> = [];
    const atTheEnd = await countReads(device, async () => {
      y = await readY(x.length / hidden);
    });
    assert(atTheEnd.buffers > 0 && atTheEnd.bytes >= 4 * x.length, 'the count sees what is read at the end');
    assertEqual(y.length, expected.length, 'elements of y');
    const error = Math.max(...expected.map((value, i) => Math.abs(value - y[i]!)));
    assert(error < 2e-5, `the step of ${nNew} is off by ${error}`);
  }
}

/** The rows of the new tokens by the definition, in f64. */
function expectedRows(known: readonly (readonly Numbers[])[], nNew: readonly number[]): number[] {
  const qkv = known.map((rows) => rows.map((row) => linear(weights.qkv, row)));
  const tensor = (rows: readonly number[][], heads: number) => ({
    data: Float64Array.from(rows.flat()),
    shape: [rows.length, heads, headDim],
  });
  const part = (row: readonly number[], first: number, heads: number) =>
    row.slice(first * headDim, (first + heads) * headDim);
  const newest = qkv.flatMap((rows, b) => rows.slice(rows.length - nNew[b]!));
  const { out } = attnVarlenReference({
    q: tensor(
      newest.map((row) => part(row, 0, nHeads)),
      nHeads,
    ),
    k: tensor(
      qkv.flat().map((row) => part(row, nHeads, nKvHeads)),
      nKvHeads,
    ),
    v: tensor(
      qkv.flat().map((row) => part(row, nHeads + nKvHeads, nKvHeads)),
      nKvHeads,
    ),
    cuSeqlensQ: ends(nNew),
    cuSeqlensK: ends(known.map(({ length }) => length)),
    causal: true,
  });
  const width = nHeads * headDim;
  return newest.flatMap((_, i) => linear(weights.out, out.data.slice(i * width, (i + 1) * width)));
}

/** [0, n of the first, n of the first two, …] */
function ends(counts: readonly number[]): number[] {
  const all = [0];
  for (const n of counts) all.push(all.at(-1)! + n);
  return all;
}

/** weight · x, weight [nOut, nIn]. */
function linear(weight: Numbers, x: ArrayLike<number>): number[] {
  const nIn = x.length;
  return Array.from({ length: weight.length / nIn }, (_, o) => {
    let sum = 0;
    for (let i = 0; i < nIn; i++) sum += weight[o * nIn + i]! * x[i]!;
    return sum;
  });
}

function joined(rows: readonly Numbers[]): Numbers {
  return Float32Array.from(rows.flatMap((row) => [...row]));
}
