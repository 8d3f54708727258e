import type { Op } from './gpu.js';
import type { KernelTimes } from './kernelTimes.js';

/** Records the dispatches of a step into one pass, or where they are timed into a pass for each, and submits them. */
export class Recorder {
  readonly encoder: GPUCommandEncoder;
  readonly #device: GPUDevice;
  readonly #times: KernelTimes | undefined;
  #pass: GPUComputePassEncoder | undefined;

  constructor(device: GPUDevice, times: KernelTimes | undefined) {
    this.#device = device;
    this.#times = times;
    this.encoder = device.createCommandEncoder();
  }

  /** Records a kernel over a grid of workgroups. */
  dispatch({ name, pipeline, bindings }: Op, x: number, y = 1, z = 1): void {
    this.inPass(name, (pass) => {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindings);
      pass.dispatchWorkgroups(x, y, z);
    });
  }

  /** Records what is not an `Op`, such as a layer's attention, into the pass. Its time is listed under `name`. */
  inPass(name: string, record: (pass: GPUComputePassEncoder) => void): void {
    if (this.#times) {
      const pass = this.#times.beginPass(this.encoder, name);
      record(pass);
      pass.end();
    } else {
      this.#pass ??= this.encoder.beginComputePass();
      record(this.#pass);
    }
  }

  /** Ends the pass, so that a copy on the encoder sees what it wrote. */
  endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
  }

  submit(): void {
    this.endPass();
    this.#device.queue.submit([this.encoder.finish()]);
  }
}

/**
 * Records one workgroup of each kernel, however often and large it is dispatched: some drivers compile a kernel only when
 * it first runs.
 */
export class FirstRunRecorder extends Recorder {
  readonly #seen = new Set<GPUComputePipeline>();

  constructor(device: GPUDevice) {
    super(device, undefined);
  }

  override dispatch(op: Op): void {
    if (this.#seen.has(op.pipeline)) return;
    this.#seen.add(op.pipeline);
    super.dispatch(op, 1);
  }
}
