import type { Gpu } from '../gpu/gpu.js';
import pairsF16 from './elements/pairs_f16.wgsl?raw';
import pairsF32 from './elements/pairs_f32.wgsl?raw';
import headCode from './head_norm.wgsl?raw';
import { expect, expectBytes, layerOf, maxRowsOf, type ActivationType, type Layer } from './layer.js';
import rowCode from './rms_norm.wgsl?raw';

/** y = x / rms(x) · weight, row by row. */
export interface RmsNormWork {
  /** f32 [rows, size] */
  readonly x: GPUBuffer;
  /** f32 [rows, size] */
  readonly y: GPUBuffer;
  /** f32 [size] */
  readonly weight: GPUBuffer;
  readonly size: number;
  /** Joins the mean of squares. */
  readonly epsilon: number;
  /** 1 + weight in place of weight, as in Gemma. */
  readonly addsOne?: boolean;
  /** y += instead of y =. */
  readonly adds?: boolean;
  /** u32 [rows]: of which row of x each row of y is. Without it, of the same. */
  readonly rows?: GPUBuffer;
  /** A uniform u32: how many rows of y a step has. */
  readonly rowCount: GPUBuffer;
}

/** @throws RangeError for arguments that do not fit together */
export async function rmsNormOp(gpu: Gpu, work: RmsNormWork): Promise<Layer> {
  const { x, y, weight, size, epsilon, addsOne = false, adds = false, rows, rowCount } = work;
  const op = `rms_norm [${size}]`;
  expect(x !== y, op, 'x and y are the same buffer.');
  expectBytes(op, 'weight', { buffer: weight, bytes: size * 4 });
  expectBytes(op, 'rowCount', { buffer: rowCount, bytes: 4 });
  const maxRows = maxRowsOf(op, [
    ...(rows ? [{ buffer: rows, name: 'rows', size: 1, type: 'u32' } as const] : []),
    ...(rows ? [] : [{ buffer: x, name: 'x', size, type: 'f32' } as const]),
    { buffer: y, name: 'y', size, type: 'f32' },
  ]);
  const constants = {
    SIZE: size,
    EPSILON: epsilon,
    ADDS_ONE: Number(addsOne),
    ADDS: Number(adds),
    HAS_ROWS: Number(rows !== undefined),
  };
  const buffers = [rowCount, x, weight, rows ?? gpu.buffer('no rows', 4), y];
  const made = await gpu.op({ name: 'rms_norm', code: rowCode, constants }, buffers);
  return layerOf(op, maxRows, (recorder, nRows) => recorder.dispatch(made, nRows));
}

/** rms_norm of each head of q and k, in place, as in Qwen 3 and Gemma 3. */
export interface HeadNormWork {
  /** [rows, (nHeads + 2 · nKvHeads) · headDim] */
  readonly qkv: GPUBuffer;
  readonly type: ActivationType;
  readonly nHeads: number;
  readonly nKvHeads: number;
  /** Even. */
  readonly headDim: number;
  /** f32 [headDim] */
  readonly qWeight: GPUBuffer;
  readonly kWeight: GPUBuffer;
  readonly epsilon: number;
  readonly addsOne?: boolean;
  /** A uniform u32: how many rows a step has. */
  readonly rowCount: GPUBuffer;
}

/** @throws RangeError for arguments that do not fit together */
export async function headNormOp(gpu: Gpu, work: HeadNormWork): Promise<Layer> {
  const { qkv, type, nHeads, nKvHeads, headDim, qWeight, kWeight, epsilon, addsOne = false, rowCount } = work;
  const op = `head_norm [${headDim}]`;
  expect(headDim % 2 === 0, op, 'headDim must be even.');
  expectBytes(op, 'qWeight', { buffer: qWeight, bytes: headDim * 4 });
  expectBytes(op, 'kWeight', { buffer: kWeight, bytes: headDim * 4 });
  expectBytes(op, 'rowCount', { buffer: rowCount, bytes: 4 });
  const size = (nHeads + 2 * nKvHeads) * headDim;
  const maxRows = maxRowsOf(op, [{ buffer: qkv, name: 'qkv', size, type }]);
  const weights = gpu.buffer('head norm weights', headDim * 8);
  const encoder = gpu.device.createCommandEncoder();
  encoder.copyBufferToBuffer(qWeight, 0, weights, 0, headDim * 4);
  encoder.copyBufferToBuffer(kWeight, 0, weights, headDim * 4, headDim * 4);
  gpu.device.queue.submit([encoder.finish()]);
  const constants = {
    HEAD_DIM: headDim,
    N_HEADS: nHeads,
    ROW_PAIRS: size / 2,
    EPSILON: epsilon,
    ADDS_ONE: Number(addsOne),
  };
  const code = headCode + (type === 'f16' ? pairsF16 : pairsF32);
  const made = await gpu.op({ name: 'head_norm', code, constants }, [rowCount, weights, qkv]);
  return layerOf(op, maxRows, (recorder, nRows) => recorder.dispatch(made, nHeads + nKvHeads, nRows));
}
