import type { FloatDType } from '../src/core/dtype.js';
import type { Tensor } from '../src/core/tensor.js';
import { createRuntime, type Runtime } from '../src/index.js';
import { download } from '../tools/deviceTensor.js';
import type { Effort } from './effort.js';
import type { Measurement } from './results.js';
import { summarize, type Summary } from './statistics.js';
import { captureErrors, chooseRepetitions, idle, timeCalls } from './timing.js';
import type { Approach, Call, Workload } from './workload.js';

export interface ContenderArgs {
  readonly device: GPUDevice;
  readonly dtype: FloatDType;
  readonly effort: Effort;
  readonly workload: Workload;
}

/** An approach with an output and a runtime of its own. */
export class Contender<A extends Approach = Approach> {
  readonly approach: A;
  readonly runtime: Runtime;
  readonly #device: GPUDevice;
  readonly #effort: Effort;
  readonly #flops: number;
  readonly #out: Tensor;
  readonly #call: Call;
  #repetitions = 1;
  #gpuMs: Summary | undefined;
  /** Milliseconds of a call, one for each round. */
  readonly samples: number[] = [];

  constructor(approach: A, { device, dtype, effort, workload }: ContenderArgs) {
    this.approach = approach;
    this.runtime = createRuntime(device);
    this.#device = device;
    this.#effort = effort;
    this.#flops = workload.flops;
    this.#out = this.runtime.createTensor(workload.outShape, dtype, `out of ${approach.name}`);
    this.#call = approach.prepare(this.runtime, this.#out);
  }

  /** Compiles, runs once and gives the output, or an error where the device cannot run it or lacks the memory for it. */
  async firstRun(): Promise<Float32Array | Error> {
    const { name, obstacle } = this.approach;
    if (obstacle) return new Error(obstacle);
    const error = await captureErrors(this.#device, async () => {
      this.#call();
      await idle(this.#device);
    });
    if (error instanceof GPUOutOfMemoryError) return new Error('the device has not enough memory for it');
    if (error) throw new Error(`${name}: ${error.message}`);
    return download(this.#device, this.#out);
  }

  async warmUp(): Promise<void> {
    const { minSampleMs } = this.#effort;
    // Where one call will do, the first run was warm-up enough.
    if (minSampleMs === 0) return;
    this.#repetitions = await chooseRepetitions(this.#device, this.#call, minSampleMs);
  }

  async takeSample(): Promise<void> {
    this.samples.push(await timeCalls(this.#device, this.#call, this.#repetitions));
  }

  /** Times calls by the clock of the device, where it is a GPU that has one. */
  async timeOnGpu(): Promise<void> {
    const { deviceClass } = this.runtime.traits;
    if (deviceClass !== 'gpu' || !this.#device.features.has('timestamp-query')) return;
    // A runtime of its own, since timestamps part what would be one pass.
    const runtime = createRuntime(this.#device, { profile: true });
    try {
      const call = this.approach.prepare(runtime, this.#out);
      call();
      await runtime.takeProfile();
      const samples: number[] = [];
      for (let round = 0; round < this.#effort.maxRounds; round++) {
        call();
        const times = await runtime.takeProfile();
        samples.push(times.reduce((sum, { microseconds }) => sum + microseconds / 1000, 0));
      }
      this.#gpuMs = summarize(samples);
    } finally {
      runtime.destroy();
    }
  }

  result(): Measurement {
    const ms = summarize(this.samples);
    return {
      ms,
      ...(this.#gpuMs && { gpuMs: this.#gpuMs }),
      repetitions: this.#repetitions,
      gflops: this.#flops / ms.median / 1e6,
      gbps: this.approach.bytes / ms.median / 1e6,
      memoryBytes: this.runtime.memoryBytes,
    };
  }

  destroy(): void {
    this.runtime.destroy();
    this.#out.buffer.destroy();
  }
}
