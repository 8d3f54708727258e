import { BUFFER_USAGE, MAP_MODE } from '../core/gpuBuffers.js';

/** How long one dispatch took on the GPU. */
export interface DispatchTime {
  /** The kernel's name. */
  readonly kernel: string;
  readonly microseconds: number;
}

/** Times dispatches by timestamps at the two ends of a pass. Needs the feature `timestamp-query`. */
export class Profiler {
  readonly #device: GPUDevice;
  readonly #kernels: string[] = [];
  readonly #querySets: GPUQuerySet[] = [];

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Begins a pass for one dispatch of a kernel. */
  beginPass(encoder: GPUCommandEncoder, kernel: string): GPUComputePassEncoder {
    const index = this.#kernels.push(kernel) - 1;
    if (index % PAIRS_PER_SET === 0) {
      this.#querySets.push(this.#device.createQuerySet({ type: 'timestamp', count: 2 * PAIRS_PER_SET }));
    }
    const first = 2 * (index % PAIRS_PER_SET);
    const timestampWrites = {
      querySet: this.#querySets.at(-1)!,
      beginningOfPassWriteIndex: first,
      endOfPassWriteIndex: first + 1,
    };
    return encoder.beginComputePass({ label: kernel, timestampWrites });
  }

  /** Returns the times of all dispatches since the last call, in the order of submission. */
  async take(): Promise<DispatchTime[]> {
    const kernels = this.#kernels.splice(0);
    const querySets = this.#querySets.splice(0);
    if (kernels.length === 0) return [];
    const stamps = await this.#read(querySets);
    for (const querySet of querySets) querySet.destroy();
    return kernels.map((kernel, i) => ({
      kernel,
      microseconds: Number(stamps[2 * i + 1]! - stamps[2 * i]!) / 1000,
    }));
  }

  async #read(querySets: readonly GPUQuerySet[]): Promise<BigUint64Array> {
    const bytesPerSet = 2 * PAIRS_PER_SET * 8;
    const size = querySets.length * bytesPerSet;
    const { QUERY_RESOLVE, COPY_SRC, COPY_DST, MAP_READ } = BUFFER_USAGE;
    const resolved = this.#device.createBuffer({ size, usage: QUERY_RESOLVE | COPY_SRC });
    const readback = this.#device.createBuffer({ size, usage: COPY_DST | MAP_READ });
    try {
      const encoder = this.#device.createCommandEncoder();
      querySets.forEach((querySet, i) =>
        encoder.resolveQuerySet(querySet, 0, 2 * PAIRS_PER_SET, resolved, i * bytesPerSet),
      );
      encoder.copyBufferToBuffer(resolved, 0, readback, 0, size);
      this.#device.queue.submit([encoder.finish()]);
      await readback.mapAsync(MAP_MODE.READ);
      return new BigUint64Array(readback.getMappedRange().slice(0));
    } finally {
      resolved.destroy();
      readback.destroy();
    }
  }
}

const PAIRS_PER_SET = 256;
