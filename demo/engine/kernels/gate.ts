import type { Gpu } from '../gpu/gpu.js';
import code from './gate.wgsl?raw';
import { expect, expectBytes, layerOf, maxRowsOf, type Layer } from './layer.js';

/** y = act(gate) · up. */
export interface GateWork {
  /** f32 [rows, 2, size]: gate, then up */
  readonly gateUp: GPUBuffer;
  /** f32 [rows, size] */
  readonly y: GPUBuffer;
  readonly size: number;
  readonly activation: 'silu' | 'gelu_tanh';
  /** A uniform u32: how many rows a step has. */
  readonly rowCount: GPUBuffer;
}

/** @throws RangeError for arguments that do not fit together */
export async function gateOp(gpu: Gpu, { gateUp, y, size, activation, rowCount }: GateWork): Promise<Layer> {
  const op = `gate [${size}]`;
  expect(gateUp !== y, op, 'gateUp and y are the same buffer.');
  expectBytes(op, 'rowCount', { buffer: rowCount, bytes: 4 });
  const maxRows = maxRowsOf(op, [
    { buffer: gateUp, name: 'gateUp', size: 2 * size, type: 'f32' },
    { buffer: y, name: 'y', size, type: 'f32' },
  ]);
  const constants = { SIZE: size, GELU: Number(activation === 'gelu_tanh') };
  const made = await gpu.op({ name: 'gate', code, constants }, [rowCount, gateUp, y]);
  return layerOf(op, maxRows, (recorder, nRows) => recorder.dispatch(made, Math.ceil(size / 256), nRows));
}
