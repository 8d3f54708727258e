import { MAP_READ } from './gpu.js';

/** GPU time of all dispatches of one name since the last `take`. */
export interface KernelTime {
  readonly name: string;
  readonly nDispatches: number;
  readonly ms: number;
}

const PAIRS_PER_SET = 2048;
const QUERY_RESOLVE_OR_COPY = 0x200 | 0x04; // QUERY_RESOLVE | COPY_SRC

/** Times passes by timestamps at their ends. The device needs the feature `timestamp-query`. */
export class KernelTimes {
  readonly #device: GPUDevice;
  #names: string[] = [];
  #querySets: GPUQuerySet[] = [];

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Begins a pass whose time is added to those of its name. */
  beginPass(encoder: GPUCommandEncoder, name: string): GPUComputePassEncoder {
    const first = 2 * (this.#names.length % PAIRS_PER_SET);
    if (first === 0)
      this.#querySets.push(this.#device.createQuerySet({ type: 'timestamp', count: 2 * PAIRS_PER_SET }));
    this.#names.push(name);
    const querySet = this.#querySets.at(-1)!;
    const timestampWrites = {
      querySet,
      beginningOfPassWriteIndex: first,
      endOfPassWriteIndex: first + 1,
    };
    return encoder.beginComputePass({ label: name, timestampWrites });
  }

  /** Returns the times since the last call, the longest first. Waits for what was submitted. */
  async take(): Promise<KernelTime[]> {
    const names = this.#names;
    const querySets = this.#querySets;
    this.#names = [];
    this.#querySets = [];
    const stamps = await this.#read(querySets);
    const byName = new Map<string, { nDispatches: number; ms: number }>();
    names.forEach((name, i) => {
      const sum = byName.get(name) ?? { nDispatches: 0, ms: 0 };
      sum.nDispatches += 1;
      sum.ms += Number(stamps[2 * i + 1]! - stamps[2 * i]!) / 1e6;
      byName.set(name, sum);
    });
    return Array.from(byName, ([name, sum]) => ({ name, ...sum })).toSorted((a, b) => b.ms - a.ms);
  }

  async #read(querySets: readonly GPUQuerySet[]): Promise<BigUint64Array> {
    if (querySets.length === 0) return new BigUint64Array();
    const bytes = 2 * PAIRS_PER_SET * 8;
    const size = querySets.length * bytes;
    const resolved = this.#device.createBuffer({ size, usage: QUERY_RESOLVE_OR_COPY });
    const readback = this.#device.createBuffer({ size, usage: MAP_READ });
    const encoder = this.#device.createCommandEncoder();
    querySets.forEach((querySet, i) =>
      encoder.resolveQuerySet(querySet, 0, 2 * PAIRS_PER_SET, resolved, i * bytes),
    );
    encoder.copyBufferToBuffer(resolved, 0, readback, 0, size);
    this.#device.queue.submit([encoder.finish()]);
    try {
      await readback.mapAsync(1); // GPUMapMode.READ, which is no global in Node
      return new BigUint64Array(readback.getMappedRange().slice(0));
    } finally {
      for (const querySet of querySets) querySet.destroy();
      resolved.destroy();
      readback.destroy();
    }
  }
}
