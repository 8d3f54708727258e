import { EngineError, formatBytes } from '../engineError.js';
import type { KernelTimes } from './kernelTimes.js';
import { Recorder } from './recorder.js';

/** A kernel's text, and the numbers that its `override` constants get. */
export interface KernelSource {
  /** The entry point, the label, and the name in the times of `--stats`. */
  readonly name: string;
  readonly code: string;
  readonly constants?: Readonly<Record<string, number>>;
}

/** A kernel bound to its buffers. Recorded as often as the model runs. */
export interface Op {
  readonly name: string;
  readonly pipeline: GPUComputePipeline;
  readonly bindings: GPUBindGroup;
}

/** What the engine's own kernels need of a device: pipelines, each compiled once, and buffers, freed together. */
export class Gpu {
  readonly device: GPUDevice;
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>();
  readonly #buffers = new Set<GPUBuffer>();
  /** Settles once the device has said what it thinks of all watched work. */
  #reports: Promise<unknown> = Promise.resolve();
  #failure: EngineError | undefined;

  constructor(device: GPUDevice) {
    this.device = device;
  }

  /** Makes a buffer that `destroy` frees. Sizes are in bytes, rounded up to whole 16-byte words. */
  buffer(label: string, bytes: number, usage = STORAGE): GPUBuffer {
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    const create = (): GPUBuffer => this.device.createBuffer({ label, size, usage });
    const buffer = this.watched(`a buffer of ${formatBytes(size)} (${label})`, create);
    this.#buffers.add(buffer);
    return buffer;
  }

  /** Makes a buffer with numbers in it. */
  bufferOf(label: string, data: ArrayBufferView<ArrayBuffer>, usage = STORAGE): GPUBuffer {
    const buffer = this.buffer(label, data.byteLength, usage);
    this.device.queue.writeBuffer(buffer, 0, data.buffer, data.byteOffset, data.byteLength);
    return buffer;
  }

  /** Frees a buffer before the others. */
  release(buffer: GPUBuffer): void {
    this.#buffers.delete(buffer);
    buffer.destroy();
  }

  /** Binds a kernel to buffers: the i-th is `@group(0) @binding(i)`. Rejects if the kernel does not compile. */
  async op({ name, code, constants = {} }: KernelSource, buffers: readonly GPUBuffer[]): Promise<Op> {
    const pipeline = await this.#pipeline({ name, code, constants });
    const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
    const layout = pipeline.getBindGroupLayout(0);
    return { name, pipeline, bindings: this.device.createBindGroup({ label: name, layout, entries }) };
  }

  /** Gives the device work. If it refuses that, which it says later, the next `check` throws. */
  watched<T>(what: string, work: () => T): T {
    const { device } = this;
    device.pushErrorScope('validation');
    device.pushErrorScope('out-of-memory');
    try {
      return work();
    } finally {
      this.#hear(`The GPU has no memory for ${what}`, device.popErrorScope());
      this.#hear(`The GPU refuses ${what}`, device.popErrorScope());
    }
  }

  /** @throws EngineError for the first watched work that the device has refused */
  async check(): Promise<void> {
    await this.#reports;
    if (this.#failure) throw this.#failure;
  }

  /** Waits for something on the GPU. If watched work was refused, that explains it best if it fails, and spoils it if not. */
  async settle<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } finally {
      await this.check();
    }
  }

  /** Starts the commands of a step. With `times`, each dispatch has a pass of its own, which is timed. */
  record(times?: KernelTimes): Recorder {
    return new Recorder(this.device, times);
  }

  /** Reads the first bytes of a buffer, after all that was submitted. */
  async readFloats(buffer: GPUBuffer, bytes: number): Promise<Float32Array<ArrayBuffer>> {
    const staging = this.device.createBuffer({ size: bytes, usage: MAP_READ });
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, 0, staging, 0, bytes);
    this.device.queue.submit([encoder.finish()]);
    try {
      await staging.mapAsync(1); // GPUMapMode.READ, which is no global in Node
      return new Float32Array(staging.getMappedRange().slice(0));
    } finally {
      staging.destroy();
    }
  }

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
    this.#buffers.clear();
  }

  #hear(sentence: string, report: Promise<GPUError | null>): void {
    const heard = report.then(
      (error) => {
        if (error) this.#failure ??= new EngineError(`${sentence}: ${error.message}`, { cause: error });
      },
      () => {}, // A lost device has other ways to say so.
    );
    this.#reports = Promise.all([this.#reports, heard]);
  }

  #pipeline({ name, code, constants }: Required<KernelSource>): Promise<GPUComputePipeline> {
    const key = `${name} ${JSON.stringify(constants)} ${code}`;
    const found = this.#pipelines.get(key);
    if (found) return found;
    const module = this.device.createShaderModule({ label: name, code });
    const compute = { module, entryPoint: name, constants: { ...constants } };
    const made = this.device.createComputePipelineAsync({ label: name, layout: 'auto', compute });
    this.#pipelines.set(key, made);
    return made;
  }
}

/** For a buffer that is copied to, and mapped. */
export const MAP_READ = 0x01 | 0x08; // MAP_READ | COPY_DST

const STORAGE = 0x80 | 0x04 | 0x08; // STORAGE | COPY_SRC | COPY_DST; GPUBufferUsage is no global in Node

/** For a buffer of numbers that every invocation reads alike. */
export const UNIFORM = 0x40 | 0x08; // UNIFORM | COPY_DST
