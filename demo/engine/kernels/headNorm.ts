import type { Gpu } from '../gpu/gpu.js';
import f16Bits from './elements/f16_bits.wgsl?raw';
import headsF16 from './elements/heads_f16.wgsl?raw';
import headsF32 from './elements/heads_f32.wgsl?raw';
import code from './head_norm.wgsl?raw';
import { expectBytes, expectQuads, layerOf, maxRowsOf, type ActivationType, type Layer } from './layer.js';

/** RMSNorm of each query head and each key head, in place. */
export interface HeadNormWork {
  /** [rows, (nHeads + 2 · nKvHeads) · headDim]: query heads, key heads, value heads. */
  readonly qkv: GPUBuffer;
  readonly type?: ActivationType;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  /** f32 [headDim] */
  readonly qWeight: GPUBuffer;
  /** f32 [headDim] */
  readonly kWeight: GPUBuffer;
  /** Added to the mean of the squares. */
  readonly epsilon: number;
  /** What is added to the weights: 1 in Gemma; 0 if left out. */
  readonly weightOffset?: number;
  /** A uniform u32: how many rows a step has. */
  readonly rowCount: GPUBuffer;
}

const INVOCATIONS = 64;

/**
 * Compiles the norm of heads.
 *
 * @throws RangeError for arguments that do not fit together
 */
export async function headNormOp(gpu: Gpu, work: HeadNormWork): Promise<Layer> {
  const { qkv, type = 'f32', nHeads, nKvHeads, headDim, qWeight, kWeight, epsilon, rowCount } = work;
  const op = `head_norm [${nHeads}, ${nKvHeads}, ${headDim}]`;
  expectQuads(op, 'headDim', headDim);
  expectBytes(op, 'rowCount', { buffer: rowCount, bytes: 4 });
  expectBytes(op, 'qWeight', { buffer: qWeight, bytes: headDim * 4 });
  expectBytes(op, 'kWeight', { buffer: kWeight, bytes: headDim * 4 });
  const rowSize = (nHeads + 2 * nKvHeads) * headDim;
  const maxRows = maxRowsOf(op, [{ buffer: qkv, name: 'qkv', size: rowSize, type }]);
  const lanes = lanesOf(headDim / 4);
  const teams = INVOCATIONS / lanes;
  const constants = {
    N_Q_HEADS: nHeads,
    N_HEADS: nHeads + nKvHeads,
    HEAD_QUADS: headDim / 4,
    ROW_QUADS: rowSize / 4,
    LANES: lanes,
    TEAMS: teams,
    EPSILON: epsilon,
    WEIGHT_OFFSET: work.weightOffset ?? 0,
  };
  const heads = type === 'f32' ? headsF32 : headsF16 + f16Bits;
  const buffers = [rowCount, qWeight, kWeight, qkv];
  const kernel = await gpu.op({ name: 'head_norm', code: code + heads, constants }, buffers);
  const width = Math.ceil((nHeads + nKvHeads) / teams);
  return layerOf(op, maxRows, (recorder, nRows) => recorder.dispatch(kernel, width, nRows));
}

/** A quad for each invocation, as far as there may be so many. */
function lanesOf(nQuads: number): number {
  let lanes = 4;
  while (lanes < INVOCATIONS && lanes < nQuads) lanes *= 2;
  return lanes;
}
