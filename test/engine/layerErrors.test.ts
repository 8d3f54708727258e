import { describe, expect, test } from 'vitest';
import { embedOp, type EmbedWork } from '../../demo/engine/kernels/embed.js';
import { gateOp } from '../../demo/engine/kernels/gate.js';
import { headNormOp } from '../../demo/engine/kernels/headNorm.js';
import { layerOf } from '../../demo/engine/kernels/layer.js';
import { linearOp, type LinearWork } from '../../demo/engine/kernels/linear.js';
import { rmsNormOp, type RmsNormWork } from '../../demo/engine/kernels/rmsNorm.js';
import { softcapLogitsOp } from '../../demo/engine/kernels/softcapLogits.js';
import { UNIFORM } from '../../demo/engine/gpu/gpu.js';
import type { Recorder } from '../../demo/engine/gpu/recorder.js';
import { MatrixWriter, type Matrix } from '../../demo/engine/model/matrix.js';
import { bufferOnlyGpu } from './bufferOnlyGpu.js';

const gpu = bufferOnlyGpu();
const floats = (n: number): GPUBuffer => gpu.buffer('floats', n * 4);
const rowCount = gpu.buffer('row_count', 4, UNIFORM);
const matrixOf = (nOut: number, nIn: number, format: Matrix['format'] = 'f16'): Matrix =>
  new MatrixWriter(gpu, { label: 'm', nOut, nIn, format }).matrix;

describe('linear refuses', () => {
  const linear = (changes: Partial<LinearWork>): Promise<unknown> =>
    linearOp(gpu, { matrix: matrixOf(8, 64), x: floats(2 * 64), y: floats(2 * 8), rowCount, ...changes });

  test('buffers that are too small', async () => {
    await expect(linear({ x: floats(60) })).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RangeError: linear [8, 64]: x has 240 bytes, too few for one row of 64 f32.]`,
    );
    await expect(linear({ y: floats(4) })).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RangeError: linear [8, 64]: y has 16 bytes, too few for one row of 8 f32.]`,
    );
    await expect(linear({ bias: floats(4) })).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RangeError: linear [8, 64]: bias has 16 bytes, but 32 are needed.]`,
    );
  });

  test('x and y in one buffer', async () => {
    const x = floats(128);
    await expect(linear({ x, y: x })).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RangeError: linear [8, 64]: x and y are the same buffer, but a product cannot be computed in place.]`,
    );
  });

  test('halves that would share a word with another row, and sums of halves', async () => {
    const odd = { matrix: matrixOf(7, 64), yType: 'f16' } as const;
    await expect(linear(odd)).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RangeError: linear [7, 64]: y of f16 has two outputs a word, so nOut must be even.]`,
    );
    await expect(linear({ yType: 'f16', adds: true })).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RangeError: linear [8, 64]: adds needs y of f32, as sums of f16 would lose bits.]`,
    );
  });

  test('more outputs than grids have room for', async () => {
    const matrix = matrixOf(2 ** 20 + 1, 1);
    await expect(linear({ matrix })).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RangeError: linear [1048577, 1]: nOut is at most 1048560.]`,
    );
  });

  test('parts that are no matrix', async () => {
    const matrix = matrixOf(8, 64, 'i8');
    const [part] = matrix.parts;
    const { scales, ...unscaled } = part!;
    const withParts = (parts: Matrix['parts']): Promise<unknown> => linear({ matrix: { ...matrix, parts } });
    await expect(withParts([])).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RangeError: linear [8, 64]: its parts have 0 rows.]`,
    );
    await expect(withParts([{ ...part!, firstRow: 2 }])).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RangeError: linear [8, 64]: a part begins at row 2, the one before ends at 0.]`,
    );
    await expect(withParts([unscaled])).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RangeError: linear [8, 64]: i8 needs scales.]`,
    );
    await expect(withParts([{ ...part!, scales: floats(1) }])).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RangeError: linear [8, 64]: the buffer of scales from row 0 on has 16 bytes, but 32 are needed.]`,
    );
    await expect(withParts([{ ...part!, weights: scales! }])).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RangeError: linear [8, 64]: the buffer of weights from row 0 on has 32 bytes, but 512 are needed.]`,
    );
    const odd = [
      { ...part!, nRows: 1 },
      { ...part!, firstRow: 1, nRows: 7 },
    ];
    await expect(withParts(odd)).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RangeError: linear [8, 64]: a part begins at row 1, which is odd.]`,
    );
  });
});

test('embed refuses what does not fit', async () => {
  const tokens = floats(3);
  const embed = (changes: Partial<EmbedWork>): Promise<unknown> =>
    embedOp(gpu, {
      matrix: matrixOf(8, 64),
      tokens,
      sampled: floats(1),
      ids: floats(3),
      y: floats(3 * 64),
      rowCount,
      ...changes,
    });
  await expect(embed({ y: floats(60) })).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: embed [8, 64]: y has 240 bytes, too few for one row of 64 f32.]`,
  );
  await expect(embed({ ids: tokens })).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: embed [8, 64]: tokens, sampled, ids and y must be four buffers.]`,
  );
  await expect(embed({ matrix: { ...matrixOf(8, 64), nOut: 9 } })).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: embed [9, 64]: its parts have 8 rows.]`,
  );
});

test('rms_norm refuses what does not fit', async () => {
  const x = floats(32);
  const norm = (changes: Partial<RmsNormWork>): Promise<unknown> =>
    rmsNormOp(gpu, { x, y: floats(32), weight: floats(16), size: 16, epsilon: 1e-5, rowCount, ...changes });
  await expect(norm({ size: 18 })).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: rms_norm [18]: size must be a multiple of 4, which 18 is not.]`,
  );
  await expect(norm({ weight: floats(12) })).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: rms_norm [16]: weight has 48 bytes, but 64 are needed.]`,
  );
  await expect(norm({ y: floats(12) })).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: rms_norm [16]: y has 48 bytes, too few for one row of 16 f32.]`,
  );
  await expect(norm({ x: floats(12), rows: floats(1) })).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: rms_norm [16]: x has 48 bytes, but 64 are needed.]`,
  );
  await expect(norm({ y: x, adds: true })).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: rms_norm [16]: adds needs a y that is not x.]`,
  );
  await expect(norm({ y: x, rows: floats(1) })).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: rms_norm [16]: rows needs a y that is not x.]`,
  );
});

test('head_norm, gate and softcap_logits refuse what does not fit', async () => {
  const heads = { nHeads: 2, nKvHeads: 1, qWeight: floats(8), kWeight: floats(8), epsilon: 1e-5, rowCount };
  const headNorm = (headDim: number, size: number): Promise<unknown> =>
    headNormOp(gpu, { ...heads, headDim, qkv: floats(size) });
  await expect(headNorm(6, 24)).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: head_norm [2, 1, 6]: headDim must be a multiple of 4, which 6 is not.]`,
  );
  await expect(headNorm(12, 48)).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: head_norm [2, 1, 12]: qWeight has 32 bytes, but 48 are needed.]`,
  );
  await expect(headNorm(8, 28)).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: head_norm [2, 1, 8]: qkv has 112 bytes, too few for one row of 32 f32.]`,
  );
  const gateUp = floats(16);
  const gate = (y: GPUBuffer, size: number): Promise<unknown> =>
    gateOp(gpu, { activation: 'silu', gateUp, y, size, rowCount });
  await expect(gate(gateUp, 8)).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: gate [8]: gateUp and y are the same buffer, but rows of y are half as long.]`,
  );
  await expect(gate(floats(8), 7)).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: gate [7]: size must be a multiple of 4, which 7 is not.]`,
  );
  await expect(gate(floats(12), 12)).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: gate [12]: gateUp has 64 bytes, too few for one row of 24 f32.]`,
  );
  const softcap = (size: number, cap: number): Promise<unknown> =>
    softcapLogitsOp(gpu, { logits: floats(16), size, cap, rowCount });
  await expect(softcap(17, 30)).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: softcap_logits [17]: logits has 64 bytes, too few for one row of 17 f32.]`,
  );
  await expect(softcap(16, 0)).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: softcap_logits [16]: cap must be above 0, not 0.]`,
  );
});

test('a layer refuses more rows than its buffers hold, and records nothing for none', () => {
  const recorder = {} as Recorder;
  const dispatched: number[] = [];
  const layer = layerOf('gate [8]', 3, (_, nRows) => dispatched.push(nRows));
  expect(() => layer.record(recorder, 4)).toThrowErrorMatchingInlineSnapshot(
    `[RangeError: gate [8]: it takes up to 3 rows, not 4.]`,
  );
  expect(() => layer.record(recorder, -1)).toThrow('-1');
  expect(() => layer.record(recorder, 1.5)).toThrow('1.5');
  layer.record(recorder, 0);
  layer.record(recorder, 3);
  expect(dispatched).toEqual([3]);
});
