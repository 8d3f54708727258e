import type { Gpu } from '../gpu/gpu.js';
import { expect, expectBytes, layerOf, maxRowsOf, type Layer } from './layer.js';
import code from './softcap_logits.wgsl?raw';

/** x = cap · tanh(x / cap), in place. */
export interface SoftcapWork {
  /** f32 [rows, size] */
  readonly x: GPUBuffer;
  readonly size: number;
  readonly cap: number;
  /** A uniform u32: how many rows a step has. */
  readonly rowCount: GPUBuffer;
}

/** @throws RangeError for arguments that do not fit together */
export async function softcapOp(gpu: Gpu, { x, size, cap, rowCount }: SoftcapWork): Promise<Layer> {
  const op = `softcap_logits [${size}]`;
  expect(cap > 0, op, `cap must be above 0, not ${cap}.`);
  expectBytes(op, 'rowCount', { buffer: rowCount, bytes: 4 });
  const maxRows = maxRowsOf(op, [{ buffer: x, name: 'x', size, type: 'f32' }]);
  const constants = { SIZE: size, CAP: cap };
  const made = await gpu.op({ name: 'softcap_logits', code, constants }, [rowCount, x]);
  return layerOf(op, maxRows, (recorder, nRows) => recorder.dispatch(made, Math.ceil(size / 256), nRows));
}
