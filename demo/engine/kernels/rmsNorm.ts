import type { Gpu } from '../gpu/gpu.js';
import inPlace from './elements/norm_in_place.wgsl?raw';
import fromX from './elements/norm_x.wgsl?raw';
import fromRows from './elements/norm_x_rows.wgsl?raw';
import { expect, expectBytes, expectQuads, layerOf, maxRowsOf, type Layer } from './layer.js';
import code from './rms_norm.wgsl?raw';

/** Each row divided by its root mean square, times a weight. */
export interface RmsNormWork {
  /** f32 [.., size]; the same buffer as y for a norm in place. */
  readonly x: GPUBuffer;
  /** f32 [rows, size] */
  readonly y: GPUBuffer;
  /** f32 [size] */
  readonly weight: GPUBuffer;
  readonly size: number;
  /** Added to the mean of the squares. */
  readonly epsilon: number;
  /** What is added to the weight: 1 in Gemma; 0 if left out. */
  readonly weightOffset?: number;
  /** y += instead of y =. */
  readonly adds?: boolean;
  /** u32 [rows]: row i of y is of row rows[i] of x. The rows of a step are then those of y. */
  readonly rows?: GPUBuffer | undefined;
  /** A uniform u32: how many rows a step has. */
  readonly rowCount: GPUBuffer;
}

/**
 * Compiles RMSNorm.
 *
 * @throws RangeError for arguments that do not fit together
 */
export async function rmsNormOp(gpu: Gpu, work: RmsNormWork): Promise<Layer> {
  const { x, y, weight, size, epsilon, weightOffset = 0, adds = false, rows, rowCount } = work;
  const op = `rms_norm [${size}]`;
  const isInPlace = x === y;
  expectQuads(op, 'size', size);
  expect(!(isInPlace && adds), op, 'adds needs a y that is not x.');
  expect(!(isInPlace && rows), op, 'rows needs a y that is not x.');
  expectBytes(op, 'rowCount', { buffer: rowCount, bytes: 4 });
  expectBytes(op, 'weight', { buffer: weight, bytes: size * 4 });
  expectBytes(op, 'x', { buffer: x, bytes: size * 4 });
  const maxRows = maxRowsOf(op, [
    { buffer: y, name: 'y', size, type: 'f32' },
    rows ? { buffer: rows, name: 'rows', size: 1, type: 'u32' } : { buffer: x, name: 'x', size, type: 'f32' },
  ]);
  const source = isInPlace ? inPlace : rows ? fromRows : fromX;
  const constants = {
    N_QUADS: size / 4,
    WG_SIZE: workgroupSize(size / 4),
    EPSILON: epsilon,
    WEIGHT_OFFSET: weightOffset,
    ADDS: Number(adds),
  };
  const kernel = await gpu.op({ name: 'rms_norm', code: code + source, constants }, [
    rowCount,
    weight,
    y,
    ...(isInPlace ? [] : [x]),
    ...(rows ? [rows] : []),
  ]);
  return layerOf(op, maxRows, (recorder, nRows) => recorder.dispatch(kernel, nRows));
}

/** A quad for each invocation, as far as there may be so many. */
function workgroupSize(nQuads: number): number {
  let size = 32;
  while (size < 256 && size < nQuads) size *= 2;
  return size;
}
