import { MAP_READ, type Gpu } from '../gpu/gpu.js';
import type { Recorder } from '../gpu/recorder.js';

/** Returns the bytes of the buffers that bring up to `nRows` tokens: of a step, and of the one before it. */
export function stagingBytes(nRows: number): number {
  return 2 * nRows * 4;
}

/** Brings the tokens that a step has sampled to the host, while the GPU goes on with the next step. */
export class TokenReader {
  readonly #gpu: Gpu;
  readonly #sampled: GPUBuffer;
  /** Not in use at the moment. */
  readonly #free: GPUBuffer[] = [];

  /** @param sampled u32 [rows] */
  constructor(gpu: Gpu, sampled: GPUBuffer) {
    this.#gpu = gpu;
    this.#sampled = sampled;
  }

  /** Records the copy of `nRows` tokens. What it returns reads them, once the step is submitted. */
  record(recorder: Recorder, nRows: number): () => Promise<Uint32Array> {
    if (nRows === 0) return () => Promise.resolve(new Uint32Array());
    const bytes = nRows * 4;
    const staging = this.#free.pop() ?? this.#gpu.buffer('token staging', this.#sampled.size, MAP_READ);
    recorder.endPass();
    recorder.encoder.copyBufferToBuffer(this.#sampled, 0, staging, 0, bytes);
    return async () => {
      const map = (): Promise<undefined> => staging.mapAsync(1, 0, bytes); // GPUMapMode.READ, which is no global in Node
      await this.#gpu.watched('to read tokens', map);
      const tokens = new Uint32Array(staging.getMappedRange(0, bytes).slice(0));
      staging.unmap();
      this.#free.push(staging);
      return tokens;
    };
  }
}
