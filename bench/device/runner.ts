import type { FloatDType } from '../../src/core/dtype.js';
import type { Tensor } from '../../src/core/tensor.js';
import { createRuntime, type Runtime } from '../../src/index.js';
import { download } from '../../tools/deviceTensor.js';
import { summarize, type Summary } from '../../tools/statistics.js';
import {
  captureErrors,
  chooseRepetitions,
  idle,
  timeCalls,
  WARM_MS,
  warmUpClocks,
} from '../../tools/timing.js';
import type { Implementation, Workload } from '../cases/workload.js';
import type { Measurement } from '../results.js';
import { useMatrices } from './useMatrices.js';

/** How much time a row may take. */
export interface Effort {
  readonly minRounds: number;
  readonly maxRounds: number;
  /** No round starts after this time, once there are `minRounds`. */
  readonly budgetMs: number;
  /** A sample repeats the call until it takes this long; 0: a sample is a single call. */
  readonly minSampleMs: number;
}

export interface RunnerArgs {
  readonly device: GPUDevice;
  readonly dtype: FloatDType;
  readonly effort: Effort;
  readonly workload: Workload;
}

/** Runs and times one implementation, with an output and a runtime of its own. */
export class Runner<I extends Implementation = Implementation> {
  readonly implementation: I;
  readonly runtime: Runtime;
  readonly #device: GPUDevice;
  readonly #effort: Effort;
  readonly #flops: number;
  readonly #out: Tensor;
  readonly #call: () => void;
  #repetitions = 1;
  #gpuMs: Summary | undefined;
  /** Milliseconds per call, one sample for each round. */
  readonly samples: number[] = [];

  constructor(implementation: I, { device, dtype, effort, workload }: RunnerArgs) {
    this.implementation = implementation;
    this.runtime = createRuntime(device, { tier: implementation.tier });
    this.#device = device;
    this.#effort = effort;
    this.#flops = implementation.flops ?? workload.flops;
    this.#out = this.runtime.createTensor(workload.outShape, dtype, `out of ${implementation.name}`);
    this.#call = implementation.prepare(this.runtime, this.#out);
  }

  /**
   * Compile, run once and return the output, or an error if the device does not support it or lacks the memory.
   *
   * @throws Error if the device refuses anything else
   */
  async firstRun(): Promise<Float32Array | Error> {
    const { name, unsupported } = this.implementation;
    if (unsupported) return new Error(unsupported);
    await useMatrices(this.runtime);
    const error = await captureErrors(this.#device, async () => {
      this.#call();
      await idle(this.#device);
    });
    if (error instanceof GPUOutOfMemoryError) return new Error('the device has not enough memory for it');
    if (error) throw new Error(`${name}: ${error.message}`);
    return download(this.#device, this.#out);
  }

  /** Warm up, and choose how many calls make a sample. */
  async warmUp(): Promise<void> {
    const { minSampleMs } = this.#effort;
    // For samples of a single call, the first run was warm-up enough.
    if (minSampleMs === 0) return;
    this.#repetitions = await chooseRepetitions(this.#device, this.#call, minSampleMs);
  }

  async takeSample(): Promise<void> {
    await this.#warmUpClocks();
    this.samples.push(await timeCalls(this.#device, this.#call, this.#repetitions));
  }

  /** Time calls by GPU timestamps, if the device is a GPU that has them. */
  async timeOnGpu(): Promise<void> {
    if (!this.#isGpu || !this.#device.features.has('timestamp-query')) return;
    // In a runtime of its own, since timestamps split what would be a single pass.
    const runtime = createRuntime(this.#device, { profile: true, tier: this.implementation.tier });
    try {
      await useMatrices(runtime);
      const call = this.implementation.prepare(runtime, this.#out);
      call();
      await runtime.takeProfile();
      const samples: number[] = [];
      for (let round = 0; round < this.#effort.maxRounds; round++) {
        await this.#warmUpClocks();
        // The GPU comes to the call that is timed from another one, not from waiting.
        this.#call();
        call();
        const times = await runtime.takeProfile();
        samples.push(times.reduce((sum, { microseconds }) => sum + microseconds / 1000, 0));
      }
      this.#gpuMs = summarize(samples);
    } finally {
      runtime.destroy();
    }
  }

  get #isGpu(): boolean {
    return this.runtime.traits.deviceClass === 'gpu';
  }

  /** Software has no clocks that a benchmark could warm. */
  async #warmUpClocks(): Promise<void> {
    if (this.#isGpu) await warmUpClocks(this.#device, this.#call, WARM_MS);
  }

  result(): Measurement {
    const ms = summarize(this.samples);
    return {
      ms,
      ...(this.#gpuMs && { gpuMs: this.#gpuMs }),
      repetitions: this.#repetitions,
      bytes: this.implementation.bytes,
      flops: this.#flops,
      gflops: this.#flops / ms.median / 1e6,
      gbps: this.implementation.bytes / ms.median / 1e6,
      memoryBytes: this.runtime.memoryBytes,
    };
  }

  destroy(): void {
    this.runtime.destroy();
    this.#out.buffer.destroy();
  }
}
