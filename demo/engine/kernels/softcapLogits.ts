import type { Gpu } from '../gpu/gpu.js';
import { expect, expectBytes, layerOf, maxRowsOf, type Layer } from './layer.js';
import code from './softcap_logits.wgsl?raw';

/** cap · tanh(logit / cap), in place. */
export interface SoftcapWork {
  /** f32 [rows, vocabulary] */
  readonly logits: GPUBuffer;
  /** The vocabulary. */
  readonly size: number;
  /** Above 0. */
  readonly cap: number;
  /** A uniform u32: how many rows a step has. */
  readonly rowCount: GPUBuffer;
}

/** Workgroups of a row of the grid, of 64 quads each. */
const MAX_WIDTH = 32768;

/**
 * Compiles the soft cap of logits.
 *
 * @throws RangeError for arguments that do not fit together
 */
export async function softcapLogitsOp(
  gpu: Gpu,
  { logits, size, cap, rowCount }: SoftcapWork,
): Promise<Layer> {
  const op = `softcap_logits [${size}]`;
  expect(cap > 0 && Number.isFinite(cap), op, `cap must be above 0, not ${cap}.`);
  expectBytes(op, 'rowCount', { buffer: rowCount, bytes: 4 });
  const maxRows = maxRowsOf(op, [{ buffer: logits, name: 'logits', size, type: 'f32' }]);
  const constants = { CAP: cap, N_COLUMNS: size };
  const kernel = await gpu.op({ name: 'softcap_logits', code, constants }, [rowCount, logits]);
  return layerOf(op, maxRows, (recorder, nRows) => {
    const width = Math.ceil((nRows * size) / 4 / 64);
    recorder.dispatch(kernel, Math.min(width, MAX_WIDTH), Math.ceil(width / MAX_WIDTH));
  });
}
