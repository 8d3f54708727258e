import { UNIFORM, type Gpu, type Op } from '../gpu/gpu.js';
import type { Recorder } from '../gpu/recorder.js';
import { checkStep, wavesOf, type NaiveStep, type Wave } from './naiveChunks.js';
import { kernelsOf, WaveOp, type NaiveLayer, type NaiveScores } from './naiveOps.js';
import {
  checkHeads,
  naiveCacheBytes,
  naiveTensorBytes,
  scoresBytesOf,
  type NaiveSizes,
} from './naiveSizes.js';

export interface NaiveAttentionOptions extends Omit<NaiveSizes, 'nLayers'>, NaiveScores {
  readonly layers: readonly NaiveLayer[];
  /** Tokens of a step. */
  readonly maxRows: number;
  /** [maxRows, (nHeads + 2 · nKvHeads) · headDim]: of each row q, then k, then v. Not changed. */
  readonly qkv: GPUBuffer;
  /** [maxRows, nHeads · headDim] */
  readonly out: GPUBuffer;
  /** What the scores that are in memory at once may take. Default 256 MiB. */
  readonly scoresBytes?: number | undefined;
}

const WG_SIZE = 64;
const CHUNK_WORDS = 8;
export const DEFAULT_SCORES_BYTES = 2 ** 28;

/**
 * Attention as one writes it first, to compare with: each sequence has a row of a contiguous cache as long as the longest
 * may become, and three dispatches write all scores to memory, make them weights and sum the values. Where the scores of
 * a step do not fit, it is cut into chunks of queries.
 */
export class NaiveAttention {
  /** What the caches of all layers take. */
  readonly cacheBytes: number;
  /** What scores take. */
  readonly scoresBytes: number;
  readonly #gpu: Gpu;
  readonly #options: NaiveAttentionOptions;
  readonly #buffers: Buffers;
  readonly #layers: readonly LayerOps[];
  /** The number of each wave's first chunk. */
  readonly #firstChunks: GPUBuffer[];
  #waves: readonly Wave[] = [];
  #nRows = 0;

  private constructor(
    gpu: Gpu,
    options: NaiveAttentionOptions,
    { buffers, layers }: { buffers: Buffers; layers: readonly LayerOps[] },
  ) {
    this.#gpu = gpu;
    this.#options = options;
    this.#buffers = buffers;
    this.#layers = layers;
    this.#firstChunks = [buffers.firstChunk];
    this.cacheBytes = naiveCacheBytes({ ...options, nLayers: options.layers.length });
    this.scoresBytes = buffers.scores.size;
  }

  /** @throws EngineError if caches or scores do not fit; RangeError for sizes that contradict each other */
  static async create(gpu: Gpu, options: NaiveAttentionOptions): Promise<NaiveAttention> {
    const { layers, maxRows, qkv, out, scoresBytes: budget = DEFAULT_SCORES_BYTES } = options;
    const sizes = { ...options, nLayers: layers.length };
    checkHeads(
      sizes,
      layers.map(({ rotary }) => rotary),
    );
    const scoresBytes = scoresBytesOf(sizes, { limits: gpu.device.limits, budget, maxRows });
    const buffers = await makeBuffers(gpu, options, scoresBytes);
    const { firstChunk, chunks, places, q, scores, caches } = buffers;
    const ops = layers.map(async (layer, i): Promise<LayerOps> => {
      const kernels = kernelsOf(sizes, layer);
      const [keys, values] = caches[i]!;
      const { cos, sin } = layer.rotary;
      const bound = {
        scores: { firstChunk, buffers: [chunks, q, keys, scores] },
        softmax: { firstChunk, buffers: [chunks, scores] },
        sum: { firstChunk, buffers: [chunks, scores, values, out] },
      };
      return {
        append: await gpu.op(kernels.append, [qkv, places, cos, sin, q, keys, values]),
        scores: await WaveOp.create(gpu, kernels.scores, bound.scores),
        softmax: await WaveOp.create(gpu, kernels.softmax, bound.softmax),
        sum: await WaveOp.create(gpu, kernels.sum, bound.sum),
      };
    });
    return new NaiveAttention(gpu, options, { buffers, layers: await Promise.all(ops) });
  }

  /**
   * Says what is in the next step. Call it before `record`, once for each submit.
   *
   * @throws RangeError for a step that the cache or the buffers have no room for; nothing is changed then
   */
  begin(step: NaiveStep): void {
    const { nHeads, nSlots, capacity, maxRows } = this.#options;
    checkStep(step, { nSlots, capacity, maxRows });
    const { maxComputeWorkgroupsPerDimension } = this.#gpu.device.limits;
    this.#waves = wavesOf(step, {
      nHeads,
      maxScores: Math.floor(this.scoresBytes / 4),
      maxRows: Math.floor(maxComputeWorkgroupsPerDimension / nHeads),
      maxChunks: maxComputeWorkgroupsPerDimension,
    });
    this.#nRows = step.cuSeqlensQ[step.slots.length]!;
    if (this.#nRows === 0) return;
    this.#writeChunks();
    this.#writePlaces();
  }

  /** Attends in a layer: new keys and values into its cache, then out of qkv. */
  record(recorder: Recorder, layer: number): void {
    if (this.#nRows === 0) return;
    const { nHeads, nKvHeads, headDim } = this.#options;
    const { append, scores, softmax, sum } = this.#layers[layer]!;
    const workgroups = (heads: number): number => Math.ceil((heads * headDim) / 2 / WG_SIZE);
    recorder.dispatch(append, workgroups(nHeads + 2 * nKvHeads), this.#nRows);
    this.#waves.forEach((wave, w) => {
      const firstChunk = this.#firstChunks[w]!;
      const nRows = Math.max(...wave.map((chunk) => chunk.nRows));
      const nKeys = Math.max(...wave.map((chunk) => chunk.nKeys));
      recorder.dispatch(scores.at(w, firstChunk), Math.ceil(nKeys / WG_SIZE), nRows * nHeads, wave.length);
      recorder.dispatch(softmax.at(w, firstChunk), nRows * nHeads, wave.length);
      recorder.dispatch(sum.at(w, firstChunk), workgroups(nHeads), nRows, wave.length);
    });
  }

  destroy(): void {
    const { caches, ...buffers } = this.#buffers;
    for (const buffer of [...Object.values(buffers), ...caches.flat(), ...this.#firstChunks])
      buffer.destroy();
  }

  /** Writes the chunks of all waves, struct Chunk of naive_shape.wgsl, and where those of each wave begin. */
  #writeChunks(): void {
    const words = this.#waves
      .flat()
      .flatMap((chunk) => [
        chunk.firstRow,
        chunk.nRows,
        chunk.firstPosition,
        chunk.slot,
        chunk.nKeys,
        chunk.scoresBase,
        0,
        0,
      ]);
    this.#gpu.device.queue.writeBuffer(this.#buffers.chunks, 0, Uint32Array.from(words));
    let firstChunk = 0;
    this.#waves.forEach((wave, w) => {
      this.#firstChunks[w] ??= this.#gpu.buffer('naive first chunk', 4, UNIFORM);
      this.#gpu.device.queue.writeBuffer(this.#firstChunks[w], 0, Uint32Array.of(firstChunk));
      firstChunk += wave.length;
    });
  }

  /** Writes (slot, position) of each row. */
  #writePlaces(): void {
    const places = new Uint32Array(2 * this.#nRows);
    for (const { firstRow, nRows, slot, firstPosition } of this.#waves.flat())
      for (let i = 0; i < nRows; i++) places.set([slot, firstPosition + i], 2 * (firstRow + i));
    this.#gpu.device.queue.writeBuffer(this.#buffers.places, 0, places);
  }
}

interface LayerOps {
  readonly append: Op;
  readonly scores: WaveOp;
  readonly softmax: WaveOp;
  readonly sum: WaveOp;
}

interface Buffers {
  readonly firstChunk: GPUBuffer;
  readonly chunks: GPUBuffer;
  readonly places: GPUBuffer;
  readonly q: GPUBuffer;
  readonly scores: GPUBuffer;
  /** Of each layer, keys and values: [nSlots, capacity, nKvHeads, headDim]. */
  readonly caches: readonly (readonly [GPUBuffer, GPUBuffer])[];
}

/** @throws EngineError if the device has no memory for them */
async function makeBuffers(gpu: Gpu, options: NaiveAttentionOptions, scoresBytes: number): Promise<Buffers> {
  const { nHeads, headDim, dtype, maxRows, layers } = options;
  const sizes = { ...options, nLayers: layers.length };
  const tensorBytes = naiveTensorBytes(sizes);
  const buffers: Buffers = {
    firstChunk: gpu.buffer('naive first chunk', 4, UNIFORM),
    // A chunk has one row at least.
    chunks: gpu.buffer('naive chunks', maxRows * CHUNK_WORDS * 4),
    places: gpu.buffer('naive places', maxRows * 8),
    q: gpu.buffer('naive q', maxRows * nHeads * headDim * (dtype === 'f32' ? 4 : 2)),
    scores: gpu.buffer('naive scores', scoresBytes),
    caches: layers.map(() => [
      gpu.buffer('naive keys', tensorBytes),
      gpu.buffer('naive values', tensorBytes),
    ]),
  };
  await gpu.check();
  return buffers;
}
