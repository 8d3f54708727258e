import { Gpu, type Op } from '../../demo/engine/gpu/gpu.js';
import type { Recorder } from '../../demo/engine/gpu/recorder.js';
import { linear } from '../../demo/engine/kernels/layersReference.js';
import { linearOp, type LinearWork } from '../../demo/engine/kernels/linear.js';
import { MatrixWriter } from '../../demo/engine/model/matrix.js';
import type { WeightFormat } from '../../demo/engine/model/weightFormats.js';
import { Random } from '../../tools/random.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { onEachGpu, readNumbers, rounded, rowCountOf, run, store, type Stored } from './gpuArrays.js';
import { makeMatrix, narrow, storedWeights } from './matrices.js';

export interface LinearShape {
  readonly format: WeightFormat;
  readonly nIn: number;
  readonly nOut: number;
  /** The rows of each step, one after another with the same operation. */
  readonly steps: readonly number[];
  readonly xType?: Stored;
  readonly yType?: Stored;
  readonly bias?: boolean;
  readonly adds?: boolean;
  readonly why: string;
}

// As arranged for a GPU, steps of more than 32 rows are the tiled kernel's here, which compiles slowly on a CPU.
const SHAPES: readonly LinearShape[] = [
  { format: 'f32', nIn: 1, nOut: 1, steps: [1, 3], why: 'the smallest product' },
  {
    format: 'f32',
    nIn: 64,
    nOut: 64,
    steps: [0, 1, 2, 3, 4, 5, 8, 9, 32, 33, 64, 65],
    why: 'every kernel and remainder of rows',
  },
  {
    format: 'f16',
    nIn: 576,
    nOut: 192,
    steps: [1, 7],
    why: 'rows of 72 words, which lanes do not share evenly',
  },
  {
    format: 'f16',
    nIn: 100,
    nOut: 67,
    steps: [3, 40],
    bias: true,
    why: 'inputs and outputs that end within groups, tiles and quads',
  },
  {
    format: 'f16',
    nIn: 33,
    nOut: 5,
    steps: [2],
    adds: true,
    why: 'rows of x that begin within quads, added to y',
  },
  {
    format: 'bf16',
    nIn: 96,
    nOut: 130,
    steps: [1, 6, 40],
    bias: true,
    adds: true,
    why: 'a bias and a sum with y',
  },
  {
    format: 'bf16',
    nIn: 128,
    nOut: 66,
    steps: [5, 40],
    xType: 'f16',
    yType: 'f16',
    bias: true,
    why: 'halves in and out',
  },
  {
    format: 'f16',
    nIn: 35,
    nOut: 6,
    steps: [3],
    xType: 'f16',
    yType: 'f16',
    why: 'halves whose rows begin within words',
  },
  { format: 'f16', nIn: 36, nOut: 10, steps: [4], xType: 'f16', why: 'halves that end within a group' },
  { format: 'i8', nIn: 576, nOut: 68, steps: [1, 2, 4, 8, 70], why: 'scales of bytes, 18 groups' },
  { format: 'i8', nIn: 40, nOut: 7, steps: [3], bias: true, why: 'rows of two groups, the last not full' },
  {
    format: 'i4',
    nIn: 544,
    nOut: 130,
    steps: [1, 2, 4, 8, 70],
    why: 'scales of nibbles, an odd number of groups',
  },
  { format: 'i4', nIn: 31, nOut: 3, steps: [1], why: 'less than a group' },
  { format: 'f16', nIn: 4096, nOut: 8, steps: [1], why: 'long sums of many lanes' },
  { format: 'f16', nIn: 128, nOut: 16400, steps: [1], why: 'so many outputs that fewer lanes share a row' },
];

/** Compares a product with the reference, as it is arranged for a GPU and for a CPU. */
export function linearCase(shape: LinearShape, seed: number): GpuCase {
  return {
    name: `linear ${shape.format} [${shape.nOut}, ${shape.nIn}] of ${shape.steps.join(', ')} rows`,
    why: shape.why,
    run: (t) => onEachGpu(t, (gpu, deviceClass) => compare(gpu, { ...shape, deviceClass }, seed)),
  };
}

export const cases: GpuCase[] = [
  ...SHAPES.map(linearCase),
  {
    name: 'a matrix in several parts gives what one buffer gives',
    run: (t) =>
      onEachGpu(t, async (gpu, deviceClass) => {
        const format = deviceClass === 'gpu' ? 'i4' : 'bf16';
        const nIn = 544;
        const nOut = 150;
        const matrix = makeMatrix(gpu, { format, nIn, nOut, seed: 3 });
        const split = makeMatrix(narrow(gpu, 64, { format, nIn }), { format, nIn, nOut, seed: 3 });
        assertEqual(
          split.parts.map(({ firstRow }) => firstRow),
          [0, 64, 128],
          'parts',
        );
        assertEqual(split.bytes, matrix.bytes, 'bytes');
        const x = gpu.bufferOf('x', new Random(4).normals(40 * nIn));
        for (const nRows of [3, 40]) {
          const results: Float32Array[] = [];
          for (const each of [matrix, split]) {
            const y = gpu.buffer('y', 40 * nOut * 4);
            const rowCount = rowCountOf(gpu, nRows);
            const op = await linearOp(gpu, { matrix: each, x, y, rowCount, ...bounded(deviceClass) });
            run(gpu, (recorder) => op.record(recorder, nRows));
            results.push(await readNumbers(gpu, y));
          }
          assertEqual(results[1]!, results[0]!, `${nRows} rows`);
        }
      }),
  },
  {
    name: 'a row has the same bits alone and beside others, by each of the kernels',
    run: (t) =>
      onEachGpu(t, async (gpu, deviceClass) => {
        const nIn = 544;
        const nOut = 36;
        const matrix = makeMatrix(gpu, { format: 'i4', nIn, nOut, seed: 5 });
        const x = gpu.bufferOf('x', new Random(6).normals(130 * nIn));
        const y = gpu.buffer('y', 130 * nOut * 4);
        const rowCount = rowCountOf(gpu, 0);
        const op = await linearOp(gpu, { matrix, x, y, rowCount, ...bounded(deviceClass) });
        const resultOf = async (nRows: number): Promise<Float32Array> => {
          gpu.device.queue.writeBuffer(rowCount, 0, Uint32Array.of(nRows));
          run(gpu, (recorder) => op.record(recorder, nRows));
          return (await readNumbers(gpu, y)).slice(0, nRows * nOut);
        };
        const few = await resultOf(32);
        for (const nRows of [1, 2, 3, 4, 7, 8, 11, 31])
          assertEqual(await resultOf(nRows), few.slice(0, nRows * nOut), `${nRows} of 32 rows`);
        const many = await resultOf(130);
        for (const nRows of [33, 64, 65])
          assertEqual(await resultOf(nRows), many.slice(0, nRows * nOut), `${nRows} of 130 rows`);
        if (deviceClass === 'software') assertEqual(many.slice(0, 32 * nOut), few, '32 of 130 rows');
      }),
  },
  {
    name: 'the tiled kernel is taken from where it has 128 workgroups, or for more than 32 rows',
    run: async (t) => {
      const gpu = new Gpu(await t.device('full'));
      const kernelsOf = async (nOut: number, steps: readonly number[]): Promise<string[]> => {
        const matrix = makeMatrix(gpu, { format: 'f16', nIn: 8, nOut, seed: 10 });
        const x = gpu.buffer('x', 65 * 8 * 4);
        const y = gpu.buffer('y', 65 * nOut * 4);
        const op = await linearOp(gpu, { matrix, x, y, rowCount: rowCountOf(gpu, 0), deviceClass: 'gpu' });
        const names: string[] = [];
        const recorder = { dispatch: ({ name }: Op) => names.push(name) } as unknown as Recorder;
        for (const nRows of steps) op.record(recorder, nRows);
        return names;
      };
      assertEqual(
        await kernelsOf(8192, [1, 64, 65]),
        ['linear_vector', 'linear_vector', 'linear_tiled'],
        '8192 outputs',
      );
      assertEqual(await kernelsOf(8194, [32, 33]), ['linear_vector', 'linear_tiled'], '8194 outputs');
      assertEqual(await kernelsOf(64, [65]), ['linear_vector'], '64 outputs');
      gpu.destroy();
    },
  },
  {
    name: 'what is not finite in a row stays in that row',
    why: '0 · ∞ is NaN, where rows of weights are filled up with zeros and rows beyond the end are loaded',
    run: (t) =>
      onEachGpu(t, async (gpu, deviceClass) => {
        const nIn = deviceClass === 'gpu' ? 35 : 36;
        const matrix = makeMatrix(gpu, { format: 'f16', nIn, nOut: 4, seed: 7 });
        const numbers = new Random(8).normals(40 * nIn);
        numbers[nIn] = Number.NaN;
        numbers[3 * nIn + 1] = Infinity;
        const x = gpu.bufferOf('x', numbers);
        const y = gpu.buffer('y', 40 * 4 * 4);
        const rowCount = rowCountOf(gpu, 0);
        const op = await linearOp(gpu, { matrix, x, y, rowCount, ...bounded(deviceClass) });
        for (const nRows of [6, 40]) {
          gpu.device.queue.writeBuffer(rowCount, 0, Uint32Array.of(nRows));
          run(gpu, (recorder) => op.record(recorder, nRows));
          const result = await readNumbers(gpu, y);
          for (let row = 0; row < nRows; row++) {
            const isFinite = result.slice(row * 4, row * 4 + 4).every((value) => Number.isFinite(value));
            assertEqual(isFinite, row !== 1 && row !== 3, `row ${row} of ${nRows} is finite`);
          }
        }
      }),
  },
  {
    name: 'rows come from a file in any order and format',
    run: (t) =>
      onEachGpu(t, async (gpu) => {
        const nIn = 40;
        const nOut = 7;
        const numbers = new Random(9).normals(nIn * nOut);
        const writer = new MatrixWriter(gpu, { label: 'm', nOut, nIn, format: 'f32' });
        const file = new Uint8Array(numbers.length * 4 + 1);
        file.set(new Uint8Array(numbers.buffer), 1);
        const rows = (first: number, end: number): Uint8Array<ArrayBuffer> =>
          file.subarray(1 + first * nIn * 4, 1 + end * nIn * 4);
        writer.write(4, 'f32', rows(4, 7));
        writer.write(0, 'f32', rows(0, 1));
        writer.write(1, 'f32', rows(1, 4));
        assertEqual(await storedWeights(gpu, writer.matrix), Float64Array.from(numbers), 'weights');
      }),
  },
];

type Arranged = Pick<LinearWork, 'deviceClass' | 'maxVectorRows'>;

/** Small products would all be the vector kernel's. */
function bounded(deviceClass: 'gpu' | 'software'): Arranged {
  return deviceClass === 'gpu' ? { deviceClass, maxVectorRows: 32 } : { deviceClass };
}

async function compare(
  gpu: Gpu,
  shape: LinearShape & Required<Pick<LinearWork, 'deviceClass'>>,
  seed: number,
): Promise<void> {
  const { format, nIn, nOut, steps, xType = 'f32', yType = 'f32', adds = false } = shape;
  const matrix = makeMatrix(gpu, { format, nIn, nOut, seed });
  const weights = await storedWeights(gpu, matrix);
  const random = new Random(seed + 100);
  const maxRows = Math.max(...steps);
  const xNumbers = rounded(xType, random.normals(maxRows * nIn));
  const bias = shape.bias ? random.normals(nOut) : undefined;
  const before = random.normals(maxRows * nOut);
  const x = gpu.bufferOf('x', store(xType, xNumbers));
  const y = gpu.bufferOf('y', store(yType, before));
  const rowCount = rowCountOf(gpu, 0);
  const op = await linearOp(gpu, {
    matrix,
    x,
    xType,
    y,
    yType,
    bias: bias && gpu.bufferOf('bias', bias),
    adds,
    rowCount,
    ...bounded(shape.deviceClass),
  });
  const expected = linear({ x: xNumbers, weights, nIn, bias });
  const size = linear({ x: xNumbers.map(Math.abs), weights: weights.map(Math.abs), nIn });
  for (const nRows of steps) {
    gpu.device.queue.writeBuffer(y, 0, store(yType, before).buffer);
    gpu.device.queue.writeBuffer(rowCount, 0, Uint32Array.of(nRows));
    run(gpu, (recorder) => op.record(recorder, nRows));
    const result = await readNumbers(gpu, y, yType);
    for (let i = 0; i < maxRows * nOut; i++) {
      const isInStep = i < nRows * nOut;
      const want = isInStep
        ? expected[i]! + (adds ? before[i]! : 0)
        : rounded(yType, before.slice(i, i + 1))[0]!;
      const half = yType === 'f16' ? Math.abs(want) * 2 ** -11 + 2 ** -25 : 0;
      const tolerance = isInStep ? half + 1e-6 * (size[i]! + Math.abs(want)) : 0;
      const difference = Math.abs(result[i]! - want);
      assert(
        difference <= tolerance,
        `${nRows} rows: y[${Math.floor(i / nOut)}, ${i % nOut}] is ${result[i]}, expected ${want} ± ${tolerance}`,
      );
    }
  }
}
