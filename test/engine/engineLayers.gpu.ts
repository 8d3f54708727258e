import type { Gpu } from '../../demo/engine/gpu/gpu.js';
import { embedOp } from '../../demo/engine/kernels/embed.js';
import { gateOp, type GateActivation } from '../../demo/engine/kernels/gate.js';
import { headNormOp } from '../../demo/engine/kernels/headNorm.js';
import type { Layer } from '../../demo/engine/kernels/layer.js';
import * as reference from '../../demo/engine/kernels/layersReference.js';
import { rmsNormOp } from '../../demo/engine/kernels/rmsNorm.js';
import { softcapLogitsOp } from '../../demo/engine/kernels/softcapLogits.js';
import { Random } from '../../tools/random.js';
import { assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import {
  assertClose,
  onEachGpu,
  readBytes,
  readNumbers,
  rounded,
  rowCountOf,
  run,
  store,
} from './gpuArrays.js';
import { makeMatrix, narrow, storedWeights } from './matrices.js';

const EPSILON = 1e-5;

export const cases: GpuCase[] = [
  ...(
    [
      { format: 'f32', nIn: 64, why: 'as they are' },
      { format: 'f16', nIn: 50, why: 'rows that end within groups and quads' },
      {
        format: 'bf16',
        nIn: 288,
        scale: Math.sqrt(288),
        why: 'the scale of Gemma, more quads than a workgroup',
      },
      { format: 'i8', nIn: 33, why: 'scales of a second group with one weight' },
      { format: 'i4', nIn: 96, scale: 2, why: 'an odd number of scales' },
    ] as const
  ).map(({ format, nIn, why, ...options }): GpuCase => ({
    name: `embed ${format} [150, ${nIn}]`,
    why: `${why}, in one part and in three`,
    run: (t) =>
      onEachGpu(t, async (gpu) => {
        const nOut = 150;
        const whole = makeMatrix(gpu, { format, nIn, nOut, seed: 1 });
        const weights = await storedWeights(gpu, whole);
        const tokens = Int32Array.of(0, 149, 63, 64, -1, 127, -3, 128, 5);
        const sampled = Uint32Array.of(65, 3, 148);
        const nRows = 7;
        const want = reference.embed({
          tokens: tokens.slice(0, nRows),
          sampled,
          weights,
          size: nIn,
          ...options,
        });
        for (const matrix of [
          whole,
          makeMatrix(narrow(gpu, 64, { format, nIn }), { format, nIn, nOut, seed: 1 }),
        ]) {
          const ids = gpu.buffer('ids', 9 * 4);
          const y = gpu.buffer('y', 9 * nIn * 4);
          const layer = await embedOp(gpu, {
            matrix,
            tokens: gpu.bufferOf('tokens', tokens),
            sampled: gpu.bufferOf('sampled', sampled),
            ids,
            y,
            rowCount: rowCountOf(gpu, nRows),
            ...options,
          });
          run(gpu, (recorder) => layer.record(recorder, nRows));
          const result = new Uint32Array(await readBytes(gpu, ids));
          assertEqual(result.slice(0, 9), Uint32Array.of(...want.ids, 0, 0), 'ids');
          assertClose(await readNumbers(gpu, y), want.y, { relative: 1e-6 });
        }
      }),
  })),
  {
    name: 'a token beyond the vocabulary is its last one',
    run: (t) =>
      onEachGpu(t, async (gpu) => {
        const matrix = makeMatrix(gpu, { format: 'f32', nIn: 4, nOut: 3, seed: 2 });
        const weights = await storedWeights(gpu, matrix);
        const y = gpu.buffer('y', 4 * 4);
        const ids = gpu.buffer('ids', 4);
        const layer = await embedOp(gpu, {
          matrix,
          tokens: gpu.bufferOf('tokens', Int32Array.of(7)),
          sampled: gpu.buffer('sampled', 4),
          ids,
          y,
          rowCount: rowCountOf(gpu, 1),
        });
        run(gpu, (recorder) => layer.record(recorder, 1));
        assertEqual(new Uint32Array(await readBytes(gpu, ids))[0], 2, 'id');
        assertEqual(await readNumbers(gpu, y), Float32Array.from(weights.slice(8, 12)), 'y');
      }),
  },
  ...(
    [
      { size: 4, nRows: 1, why: 'one quad' },
      { size: 576, nRows: 3, why: 'fewer quads than invocations' },
      { size: 1540, nRows: 5, weightOffset: 1, why: 'more quads than invocations, 1 + weight' },
      { size: 100, nRows: 4, adds: true, weightOffset: 1, why: 'added to y' },
      { size: 64, nRows: 4, inPlace: true, why: 'in place' },
      { size: 36, nRows: 4, rows: Uint32Array.of(6, 0, 0, 2), why: 'some rows of x, one of them twice' },
      { size: 36, nRows: 2, rows: Uint32Array.of(6, 1), adds: true, why: 'some rows of x, added to y' },
    ] as const
  ).map(({ size, nRows, why, ...options }): GpuCase => ({
    name: `rms_norm [${nRows}, ${size}]`,
    why,
    run: (t) =>
      onEachGpu(t, async (gpu) => {
        const { adds = false, inPlace = false, rows, weightOffset = 0 }: NormOptions = options;
        const random = new Random(size);
        const x = random.normals(7 * size).map((value) => value * 30);
        const weight = random.normals(size);
        const before = random.normals(7 * size);
        const xBuffer = gpu.bufferOf('x', x);
        const y = inPlace ? xBuffer : gpu.bufferOf('y', before);
        const layer = await rmsNormOp(gpu, {
          x: xBuffer,
          y,
          weight: gpu.bufferOf('weight', weight),
          size,
          epsilon: EPSILON,
          weightOffset,
          adds,
          rows: rows && gpu.bufferOf('rows', rows),
          rowCount: rowCountOf(gpu, nRows),
        });
        run(gpu, (recorder) => layer.record(recorder, nRows));
        const normalised = reference.rmsNorm({ x, weight, epsilon: EPSILON, weightOffset });
        const want = Float64Array.from(inPlace ? x : before);
        for (let i = 0; i < nRows * size; i++) {
          const from = rows ? rows[Math.floor(i / size)]! * size + (i % size) : i;
          want[i] = normalised[from]! + (adds ? before[i]! : 0);
        }
        assertClose(await readNumbers(gpu, y), want, { relative: 1e-6, absolute: 1e-6 });
      }),
  })),
  {
    name: 'rms_norm of zeros is zeros, and of what is not finite stays in its row',
    run: (t) =>
      onEachGpu(t, async (gpu) => {
        const x = Float32Array.of(0, 0, 0, 0, Number.NaN, 1, 1, 1, 1, 1, 1, 1);
        const y = gpu.buffer('y', x.byteLength);
        const layer = await rmsNormOp(gpu, {
          x: gpu.bufferOf('x', x),
          y,
          weight: gpu.bufferOf('weight', Float32Array.of(1, 1, 1, 1)),
          size: 4,
          epsilon: EPSILON,
          rowCount: rowCountOf(gpu, 3),
        });
        run(gpu, (recorder) => layer.record(recorder, 3));
        const result = await readNumbers(gpu, y);
        assertEqual(result.slice(0, 4), new Float32Array(4), 'the row of zeros');
        assertEqual(result.slice(4, 8).every(Number.isNaN), true, 'the row with NaN is NaN');
        assertClose(
          result.slice(8),
          Array.from({ length: 4 }, () => 1 / Math.sqrt(1 + EPSILON)),
          { relative: 1e-6 },
        );
      }),
  },
  ...(
    [
      { nHeads: 1, nKvHeads: 1, headDim: 4, nRows: 1, why: 'the smallest' },
      { nHeads: 9, nKvHeads: 3, headDim: 64, nRows: 3, why: 'heads that do not fill the last workgroup' },
      { nHeads: 4, nKvHeads: 2, headDim: 80, nRows: 2, weightOffset: 1, why: 'lanes without a quad' },
      { nHeads: 2, nKvHeads: 1, headDim: 320, nRows: 2, why: 'more quads than lanes' },
      { nHeads: 4, nKvHeads: 2, headDim: 128, nRows: 3, type: 'f16', weightOffset: 1, why: 'halves' },
    ] as const
  ).map(({ why, nRows, ...shape }): GpuCase => ({
    name: `head_norm ${nRows} × [${shape.nHeads}, ${shape.nKvHeads}, ${shape.headDim}]`,
    why,
    run: (t) =>
      onEachGpu(t, async (gpu) => {
        const { nHeads, nKvHeads, headDim } = shape;
        const type = 'type' in shape ? shape.type : 'f32';
        const random = new Random(headDim);
        const size = (nHeads + 2 * nKvHeads) * headDim;
        const numbers = rounded(type, random.normals((nRows + 1) * size));
        const qWeight = random.normals(headDim);
        const kWeight = random.normals(headDim);
        const qkv = gpu.bufferOf('qkv', store(type, numbers));
        const layer = await headNormOp(gpu, {
          ...shape,
          qkv,
          qWeight: gpu.bufferOf('q', qWeight),
          kWeight: gpu.bufferOf('k', kWeight),
          epsilon: EPSILON,
          rowCount: rowCountOf(gpu, nRows),
        });
        run(gpu, (recorder) => layer.record(recorder, nRows));
        const want = reference.headNorm({ ...shape, qkv: numbers, qWeight, kWeight, epsilon: EPSILON });
        want.set(numbers.subarray(nRows * size), nRows * size);
        const relative = type === 'f16' ? 2 ** -11 + 1e-6 : 1e-6;
        assertClose(await readNumbers(gpu, qkv, type), want, { relative, absolute: 1e-6 });
      }),
  })),
  ...(['silu', 'gelu_tanh', 'gelu'] as const).map((activation): GpuCase => ({
    name: `gate ${activation}`,
    why: 'from -1e30 to 1e30, where exp overflows',
    run: (t) =>
      onEachGpu(t, async (gpu) => {
        const sizes = [0, 1e-4, 0.5, 1, 3, 5, 9.9, 10.1, 20, 86.9, 87.1, 100, 1e10, 1e30];
        const gates = [...sizes, ...sizes.map((x) => -x), ...new Random(1).normals(272)];
        const size = gates.length;
        const ups = new Random(2).normals(size);
        const rows = Float32Array.from([...gates, ...ups, ...gates.toReversed(), ...ups]);
        const y = await gated(gpu, { activation, rows, size });
        assertClose(y, reference.gate(activation, rows, size), { relative: 2e-6, absolute: 4e-7 });
      }),
  })),
  {
    name: 'gates of ±∞ and NaN',
    run: (t) =>
      onEachGpu(t, async (gpu) => {
        const rows = Float32Array.of(Infinity, -Infinity, Number.NaN, 1, 2, 2, 2, 2);
        for (const activation of ['silu', 'gelu_tanh', 'gelu'] as const) {
          const [high, low, none] = await gated(gpu, { activation, rows, size: 4 });
          assertEqual([high, Math.abs(low!), none], [Infinity, 0, Number.NaN], activation);
        }
      }),
  },
  {
    name: 'softcap_logits',
    why: 'rows that end within quads; logits whose exponentials overflow',
    run: (t) =>
      onEachGpu(t, async (gpu) => {
        const size = 131;
        const numbers = new Random(3).normals(4 * size).map((x) => x * 40);
        numbers.set([1e30, -1e30, 0, 1e-6, 5000, -5000, Infinity, -Infinity]);
        const logits = gpu.bufferOf('logits', numbers);
        const layer = await softcapLogitsOp(gpu, { logits, size, cap: 30, rowCount: rowCountOf(gpu, 3) });
        run(gpu, (recorder) => layer.record(recorder, 3));
        const result = await readNumbers(gpu, logits);
        const want = reference.softcapLogits(numbers.subarray(0, 3 * size), 30);
        assertClose(result.slice(0, 3 * size), want, { absolute: 2e-5 });
        assertEqual(result.slice(3 * size + 3), numbers.slice(3 * size + 3), 'the rows behind');
      }),
  },
  {
    name: 'softcap_logits of more quads than a row of the grid has',
    run: (t) =>
      onEachGpu(t, async (gpu) => {
        const size = 9_000_000;
        const numbers = new Float32Array(size).map((_, i) => i % 100);
        const logits = gpu.bufferOf('logits', numbers);
        const layer = await softcapLogitsOp(gpu, { logits, size, cap: 50, rowCount: rowCountOf(gpu, 1) });
        run(gpu, (recorder) => layer.record(recorder, 1));
        const result = await readNumbers(gpu, logits);
        const want = reference.softcapLogits(numbers.subarray(0, 100), 50);
        for (const start of [0, 8_388_600, size - 100])
          assertClose(result.slice(start, start + 100), want, { absolute: 2e-5 });
      }),
  },
];

interface NormOptions {
  readonly adds?: boolean;
  readonly inPlace?: boolean;
  readonly rows?: Uint32Array<ArrayBuffer>;
  readonly weightOffset?: number;
}

interface GateRows {
  readonly activation: GateActivation;
  readonly rows: Float32Array<ArrayBuffer>;
  readonly size: number;
}

async function gated(gpu: Gpu, { activation, rows, size }: GateRows): Promise<Float32Array> {
  const nRows = rows.length / 2 / size;
  const gateUp = gpu.bufferOf('gate_up', rows);
  const y = gpu.buffer('y', nRows * size * 4);
  const layer: Layer = await gateOp(gpu, { activation, gateUp, y, size, rowCount: rowCountOf(gpu, nRows) });
  run(gpu, (recorder) => layer.record(recorder, nRows));
  return readNumbers(gpu, y);
}
