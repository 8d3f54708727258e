import type { Gpu } from '../gpu/gpu.js';
import code from './gate.wgsl?raw';
import { expect, expectBytes, expectQuads, layerOf, maxRowsOf, type Layer } from './layer.js';

/** `gelu_tanh` has tanh in place of the error function. */
export type GateActivation = 'silu' | 'gelu_tanh' | 'gelu';

const ACTIVATIONS: Readonly<Record<GateActivation, number>> = { silu: 0, gelu_tanh: 1, gelu: 2 };

/** act(gate) · up. */
export interface GateWork {
  readonly activation: GateActivation;
  /** f32 [rows, 2 · size]: gates, then ups. */
  readonly gateUp: GPUBuffer;
  /** f32 [rows, size] */
  readonly y: GPUBuffer;
  readonly size: number;
  /** A uniform u32: how many rows a step has. */
  readonly rowCount: GPUBuffer;
}

/**
 * Compiles the gate of SwiGLU and GeGLU.
 *
 * @throws RangeError for arguments that do not fit together
 */
export async function gateOp(gpu: Gpu, { activation, gateUp, y, size, rowCount }: GateWork): Promise<Layer> {
  const op = `gate [${size}]`;
  expectQuads(op, 'size', size);
  expect(gateUp !== y, op, 'gateUp and y are the same buffer, but rows of y are half as long.');
  expectBytes(op, 'rowCount', { buffer: rowCount, bytes: 4 });
  const maxRows = maxRowsOf(op, [
    { buffer: gateUp, name: 'gateUp', size: 2 * size, type: 'f32' },
    { buffer: y, name: 'y', size, type: 'f32' },
  ]);
  const constants = { N_QUADS: size / 4, ACTIVATION: ACTIVATIONS[activation] };
  const kernel = await gpu.op({ name: 'gate', code, constants }, [rowCount, gateUp, y]);
  const width = Math.ceil(size / 4 / 64);
  return layerOf(op, maxRows, (recorder, nRows) => recorder.dispatch(kernel, width, nRows));
}
