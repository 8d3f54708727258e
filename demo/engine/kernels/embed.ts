import { UNIFORM, type Gpu } from '../gpu/gpu.js';
import type { Matrix } from '../model/matrix.js';
import { groupsOf } from '../model/weightFormats.js';
import code from './embed.wgsl?raw';
import { expect, expectBytes, layerOf, maxRowsOf, type Layer } from './layer.js';
import { expectParts, weightCode } from './weightCode.js';

/** Rows of the embedding matrix, by token. */
export interface EmbedWork {
  /** [vocabulary, hiddenSize] */
  readonly matrix: Matrix;
  /** i32 [rows]: a token, or −1 − slot for the token that is in this slot of `sampled`. */
  readonly tokens: GPUBuffer;
  /** u32 [slots]: what the step before has sampled. */
  readonly sampled: GPUBuffer;
  /** u32 [rows]: becomes the tokens. */
  readonly ids: GPUBuffer;
  /** f32 [rows, hiddenSize]: becomes their embeddings. */
  readonly y: GPUBuffer;
  /** What embeddings are multiplied by; 1 if left out. */
  readonly scale?: number;
  /** A uniform u32: how many rows a step has. */
  readonly rowCount: GPUBuffer;
}

/**
 * Compiles the lookup of embeddings. A token beyond the vocabulary is taken for its last one.
 *
 * @throws RangeError for arguments that do not fit together
 */
export async function embedOp(gpu: Gpu, work: EmbedWork): Promise<Layer> {
  const { matrix, tokens, sampled, ids, y, scale = 1, rowCount } = work;
  const { nOut, nIn, format, parts } = matrix;
  const op = `embed [${nOut}, ${nIn}]`;
  expectParts(op, matrix);
  expectBytes(op, 'rowCount', { buffer: rowCount, bytes: 4 });
  expectBytes(op, 'sampled', { buffer: sampled, bytes: 4 });
  expect(
    new Set([tokens, sampled, ids, y]).size === 4,
    op,
    'tokens, sampled, ids and y must be four buffers.',
  );
  const maxRows = maxRowsOf(op, [
    { buffer: tokens, name: 'tokens', size: 1, type: 'i32' },
    { buffer: ids, name: 'ids', size: 1, type: 'u32' },
    { buffer: y, name: 'y', size: nIn, type: 'f32' },
  ]);
  const source = { name: 'embed', code: weightCode(format, 7) + code, constants: { SCALE: scale } };
  const ops = await Promise.all(
    parts.map(({ firstRow, nRows, weights, scales }) => {
      const fields = Uint32Array.of(nIn, groupsOf(nIn), firstRow, nRows, nOut);
      const shape = gpu.bufferOf('embed shape', fields, UNIFORM);
      const buffers = [rowCount, shape, tokens, sampled, weights, ids, y];
      return gpu.op(source, scales ? [...buffers, scales] : buffers);
    }),
  );
  const width = Math.ceil(nIn / 4 / 64);
  return layerOf(op, maxRows, (recorder, nRows) => {
    for (const each of ops) recorder.dispatch(each, width, nRows);
  });
}
