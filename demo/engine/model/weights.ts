import { fromHalves } from 'pageflash';
import { LoadProgress, type Progress } from '../files/loadProgress.js';
import type { Checkpoint, StoredDType, StoredTensor } from '../files/safetensors.js';
import type { Gpu } from '../gpu/gpu.js';
import { Digest } from './digest.js';
import { MatrixWriter, type Matrix } from './matrix.js';
import type { CheckpointPieces, LayerRole, ModelRole, Piece } from './tensorNames.js';
import type { WeightFormat } from './weightFormats.js';

/** Weights on the GPU by their role: matrices, and vectors of f32. A role that a model does not have is missing. */
export interface Weights<Role extends string> {
  readonly matrices: Readonly<Partial<Record<Role, Matrix>>>;
  readonly vectors: Readonly<Partial<Record<Role, GPUBuffer>>>;
}

export interface ModelWeights {
  readonly model: Weights<ModelRole>;
  readonly layers: readonly Weights<LayerRole>[];
  /** A name for all of them, as the files have them. */
  readonly digest: string;
}

export interface LoadOptions {
  readonly checkpoint: Checkpoint;
  readonly pieces: CheckpointPieces;
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
 * @throws EngineError if the GPU has no memory for them, or a format cannot hold one
 */
export async function loadWeights(gpu: Gpu, options: LoadOptions): Promise<ModelWeights> {
  const { pieces, onProgress = () => {} } = options;
  const progress = new LoadProgress(pieces.bytes, onProgress);
  const digest = new Digest();
  const onBytes = (bytes: Uint8Array<ArrayBuffer>): void => {
    digest.add(bytes);
    progress.add(bytes.length);
  };
  const load = <Role extends string>(list: readonly Piece<Role>[], label: string): Promise<Weights<Role>> =>
    loadPieces(gpu, list, { ...options, label, onBytes });
  const model = await load(pieces.model, 'model');
  const layers: Weights<LayerRole>[] = [];
  for (const [i, list] of pieces.layers.entries()) layers.push(await load(list, `layer ${i}`));
  return { model, layers, digest: await digest.hex() };
}

interface PieceOptions extends Omit<LoadOptions, 'pieces'> {
  readonly label: string;
  readonly onBytes: (bytes: Uint8Array<ArrayBuffer>) => void;
}

async function loadPieces<Role extends string>(
  gpu: Gpu,
  list: readonly Piece<Role>[],
  { checkpoint, format, label, onBytes, signal }: PieceOptions,
): Promise<Weights<Role>> {
  const writers: Partial<Record<Role, MatrixWriter>> = {};
  const matrices: Partial<Record<Role, Matrix>> = {};
  const vectors: Partial<Record<Role, GPUBuffer>> = {};
  for (const { role, name, shape, rowOffset } of list) {
    const tensor = checkpoint.tensor(name);
    const nRows = list.reduce((sum, piece) => sum + (piece.role === role ? piece.shape[0]! : 0), 0);
    const [, nIn] = shape;
    const place = `${label} ${role}`;
    const write = ((): ((firstRow: number, bytes: Uint8Array<ArrayBuffer>) => void) => {
      if (nIn === undefined) {
        const vector = (vectors[role] ??= gpu.buffer(place, nRows * 4));
        return (_, bytes) => gpu.device.queue.writeBuffer(vector, rowOffset * 4, numbersOf(tensor, bytes));
      }
      const writer = (writers[role] ??= new MatrixWriter(gpu, { label: place, nOut: nRows, nIn, format }));
      matrices[role] = writer.matrix;
      return (firstRow, bytes) => writer.write(rowOffset + firstRow, tensor.dtype, bytes);
    })();
    // Before anything is written to a buffer that there is no memory for.
    await gpu.check();
    for await (const { firstRow, bytes } of tensor.rows(CHUNK_BYTES)) {
      signal?.throwIfAborted();
      write(firstRow, bytes);
      onBytes(bytes);
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
