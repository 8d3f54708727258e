import { fromHalves } from 'pageflash';
import { LoadProgress, type Progress } from '../files/loadProgress.js';
import type { Checkpoint, StoredDType, StoredTensor } from '../files/safetensors.js';
import type { Gpu } from '../gpu/gpu.js';
import type { ModelConfig } from './config.js';
import { MatrixWriter, type Matrix } from './matrix.js';
import { findPieces, type LayerRole, type ModelRole, type Piece } from './tensorNames.js';
import type { WeightFormat } from './weightFormats.js';

/** Weights on the GPU by their role: matrices, and vectors of f32. A role that a model does not have is missing. */
export interface Weights<Role extends string> {
  readonly matrices: Readonly<Partial<Record<Role, Matrix>>>;
  readonly vectors: Readonly<Partial<Record<Role, GPUBuffer>>>;
}

export interface ModelWeights {
  readonly model: Weights<ModelRole>;
  readonly layers: readonly Weights<LayerRole>[];
}

export interface LoadOptions {
  readonly checkpoint: Checkpoint;
  readonly config: ModelConfig;
  /** How matrices are stored on the GPU; vectors are f32. */
  readonly format: WeightFormat;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Bytes of a file that are in memory at a time; the next as many are read meanwhile. */
const CHUNK_BYTES = 8 << 20;

/**
 * Reads all weights of a model, tensor by tensor and range by range, to the GPU.
 *
 * @throws EngineError for a checkpoint that does not fit the config, before anything is read
 */
export async function loadWeights(gpu: Gpu, options: LoadOptions): Promise<ModelWeights> {
  const { checkpoint, config, onProgress = () => {} } = options;
  const pieces = findPieces(config, checkpoint);
  const progress = new LoadProgress(pieces.bytes, onProgress);
  const load = <Role extends string>(list: readonly Piece<Role>[], label: string): Promise<Weights<Role>> =>
    loadPieces(gpu, list, { ...options, label, onBytes: (bytes) => progress.add(bytes) });
  const model = await load(pieces.model, 'model');
  const layers: Weights<LayerRole>[] = [];
  for (const [i, list] of pieces.layers.entries()) layers.push(await load(list, `layer ${i}`));
  return { model, layers };
}

interface PieceOptions extends LoadOptions {
  readonly label: string;
  readonly onBytes: (bytes: number) => void;
}

async function loadPieces<Role extends string>(
  gpu: Gpu,
  pieces: readonly Piece<Role>[],
  { checkpoint, format, label, onBytes, signal }: PieceOptions,
): Promise<Weights<Role>> {
  const writers: Partial<Record<Role, MatrixWriter>> = {};
  const matrices: Partial<Record<Role, Matrix>> = {};
  const vectors: Partial<Record<Role, GPUBuffer>> = {};
  for (const { role, name, shape, rowOffset } of pieces) {
    const tensor = checkpoint.tensor(name);
    const nRows = pieces.reduce((sum, piece) => sum + (piece.role === role ? piece.shape[0]! : 0), 0);
    const [, nIn] = shape;
    const place = `${label} ${role}`;
    for await (const { firstRow, bytes } of tensor.rows(CHUNK_BYTES)) {
      signal?.throwIfAborted();
      if (nIn === undefined) {
        vectors[role] ??= gpu.buffer(place, nRows * 4);
        gpu.device.queue.writeBuffer(vectors[role], rowOffset * 4, numbersOf(tensor, bytes));
      } else {
        const writer = (writers[role] ??= new MatrixWriter(gpu, { label: place, nOut: nRows, nIn, format }));
        matrices[role] = writer.matrix;
        writer.write(rowOffset + firstRow, tensor.dtype, bytes);
      }
      onBytes(bytes.length);
    }
  }
  // What was given to the queue is held by it until it is written: wait, so that this is one layer at most.
  await gpu.device.queue.onSubmittedWorkDone();
  return { matrices, vectors };
}

function numbersOf({ dtype }: StoredTensor, bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  return dtype === 'f32' ? new Float32Array(bytes.buffer, 0, bytes.length / 4) : halvesOf(dtype, bytes);
}

function halvesOf(
  dtype: Exclude<StoredDType, 'f32'>,
  bytes: Uint8Array<ArrayBuffer>,
): Float32Array<ArrayBuffer> {
  return fromHalves(dtype, new Uint16Array(bytes.buffer, 0, bytes.length / 2));
}
