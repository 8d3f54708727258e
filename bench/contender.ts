import { createRuntime, type Runtime } from '../src/index.js';
import { download } from '../test/support/deviceTensor.js';
import { CALLS, type Call, type ContenderName, type Operands } from './calls.js';
import type { Effort } from './effort.js';
import type { Inputs } from './inputs.js';
import type { Measurement } from './results.js';
import type { BenchCase } from './shapes.js';
import { summarize, type Summary } from './statistics.js';
import { captureErrors, chooseRepetitions, idle, timeCalls } from './timing.js';

export interface ContenderArgs {
  readonly device: GPUDevice;
  readonly benchCase: BenchCase;
  readonly effort: Effort;
  readonly inputs: Inputs;
}

/** One way to compute attention, with an output and a runtime of its own. */
export class Contender {
  readonly #name: ContenderName;
  readonly #device: GPUDevice;
  readonly #benchCase: BenchCase;
  readonly #effort: Effort;
  readonly #operands: Operands;
  readonly #runtime: Runtime;
  readonly #call: Call;
  #repetitions = 1;
  #gpuMs: Summary | undefined;
  /** Milliseconds of a call, one for each round. */
  readonly samples: number[] = [];

  constructor(name: ContenderName, { device, benchCase, effort, inputs }: ContenderArgs) {
    this.#name = name;
    this.#device = device;
    this.#benchCase = benchCase;
    this.#effort = effort;
    this.#runtime = createRuntime(device);
    const { length, nHeads, headDim, dtype } = benchCase;
    const out = this.#runtime.createTensor([length, nHeads, headDim], dtype, `out of ${name}`);
    this.#operands = { q: inputs.q.tensor, k: inputs.k.tensor, v: inputs.v.tensor, out };
    this.#call = CALLS[name](this.#runtime, benchCase, this.#operands);
  }

  /** Compiles, runs once and gives the output, or an error where the device has not the memory for it. */
  async firstRun(): Promise<Float32Array | Error> {
    const error = await captureErrors(this.#device, async () => {
      this.#call();
      await idle(this.#device);
    });
    if (error instanceof GPUOutOfMemoryError) return new Error('the device has not enough memory for it');
    if (error) throw new Error(`${this.#name}: ${error.message}`);
    return download(this.#device, this.#operands.out);
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
    const { deviceClass } = this.#runtime.traits;
    if (deviceClass !== 'gpu' || !this.#device.features.has('timestamp-query')) return;
    // A runtime of its own, since timestamps part what would be one pass.
    const runtime = createRuntime(this.#device, { profile: true });
    try {
      const call = CALLS[this.#name](runtime, this.#benchCase, this.#operands);
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

  result(flops: number, bytes: number): Measurement {
    const ms = summarize(this.samples);
    return {
      ms,
      ...(this.#gpuMs && { gpuMs: this.#gpuMs }),
      repetitions: this.#repetitions,
      gflops: flops / ms.median / 1e6,
      gbps: bytes / ms.median / 1e6,
      memoryBytes: this.#runtime.memoryBytes,
    };
  }

  destroy(): void {
    this.#runtime.destroy();
    this.#operands.out.buffer.destroy();
  }
}
