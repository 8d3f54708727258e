import type { DeviceClass, DeviceTraits, Tier } from '../core/deviceTraits.js';
import type { Dispatch, HostData, KernelBinding, Scratch } from '../core/dispatch.js';
import { bytesPerElement, type DType } from '../core/dtype.js';
import { PageflashError } from '../core/errors.js';
import { elementCount, wholeWords, type Tensor } from '../core/tensor.js';
import { windowOf } from '../core/tensorWindow.js';
import { BindGroups, type BufferRange } from './bindGroups.js';
import { Memory } from './memory.js';
import { packed } from './packed.js';
import { Pipelines, type Variant } from './pipelines.js';
import { Profiler, type DispatchTime } from './profiler.js';
import { readTraits } from './readTraits.js';
import { ScratchBuffers } from './scratch.js';
import { Uploads } from './uploads.js';

export interface RuntimeOptions {
  /** The most that kernels may use of the device. Default: all that it has. */
  readonly tier?: Tier | undefined;
  /** Which tiles to use. Default: what the adapter's names tell. */
  readonly deviceClass?: DeviceClass | undefined;
  /** Time every dispatch that the runtime submits itself: see `takeProfile`. Default false. */
  readonly profile?: boolean | undefined;
}

/**
 * Make a runtime on any device, one from `requestDevice` or the engine's own.
 *
 * @throws PageflashError `limit` if `profile` is asked of a device without `timestamp-query`
 */
export function createRuntime(device: GPUDevice, options: RuntimeOptions = {}): Runtime {
  const { tier = 'T1', deviceClass, profile = false } = options;
  if (tier !== 'T0' && tier !== 'T1') {
    throw new PageflashError('argument', `createRuntime: tier must be 'T0' or 'T1', not ${String(tier)}.`);
  }
  if (deviceClass !== undefined && deviceClass !== 'software' && deviceClass !== 'gpu') {
    throw new PageflashError(
      'argument',
      `createRuntime: deviceClass must be 'software' or 'gpu', not ${String(deviceClass)}.`,
    );
  }
  if (profile && !device.features.has('timestamp-query')) {
    throw new PageflashError(
      'limit',
      'createRuntime: profile needs the feature timestamp-query, which this device was made without. Ask for it in requiredFeatures, or use requestDevice().',
    );
  }
  const traits = readTraits(device, tier);
  return new Runtime(device, deviceClass ? { ...traits, deviceClass } : traits, profile);
}

/** Turns dispatches into GPU work, and keeps what can be kept from one to the next. */
export class Runtime {
  readonly device: GPUDevice;
  readonly traits: DeviceTraits;
  readonly #pipelines: Pipelines;
  readonly #bindGroups: BindGroups;
  readonly #memory: Memory;
  readonly #uploads: Uploads;
  readonly #scratch: ScratchBuffers;
  readonly #profiler: Profiler | undefined;
  #gone: string | undefined;

  /** @internal Use `createRuntime`. */
  constructor(device: GPUDevice, traits: DeviceTraits, profile: boolean) {
    this.device = device;
    this.traits = traits;
    this.#pipelines = new Pipelines(device);
    this.#bindGroups = new BindGroups(device);
    this.#memory = new Memory(device);
    this.#uploads = new Uploads(device, this.#memory);
    this.#scratch = new ScratchBuffers(this.#memory);
    this.#profiler = profile ? new Profiler(device) : undefined;
    void device.lost.then(({ reason, message }) => {
      this.#gone ??= `the device was lost (${reason}): ${message || 'no reason was given'}`;
    });
  }

  /** Bytes of GPU memory that the runtime holds for itself: scratch and uploads, no tensor of the caller's. */
  get memoryBytes(): number {
    return this.#memory.bytes;
  }

  /**
   * Compile kernels ahead, in the background, so that no call has to wait for a compiler.
   *
   * @throws PageflashError `compile` with the compiler's words
   */
  async prepare(variants: readonly Variant[]): Promise<void> {
    this.assertAlive('prepare');
    await this.#pipelines.prepare(variants);
  }

  /** A new contiguous tensor in a buffer of its own, which the caller destroys. */
  createTensor(shape: readonly number[], dtype: DType, label = 'tensor'): Tensor {
    this.assertAlive('createTensor');
    const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
    const size = wholeWords(elementCount(shape) * bytesPerElement(dtype));
    const buffer = this.device.createBuffer({ label, size, usage: STORAGE | COPY_SRC | COPY_DST });
    return { buffer, dtype, shape };
  }

  /** Record dispatches, in order, into a pass that the caller ends and submits. */
  record(dispatches: readonly Dispatch[], pass: GPUComputePassEncoder): void {
    this.assertAlive('record');
    if (dispatches.length === 0) return;
    const steps = this.#resolve(dispatches, (parts) => this.#uploads.keep(parts));
    for (const step of steps) encode(step, pass);
  }

  /** Record dispatches, in order, and submit them at once. */
  submit(dispatches: readonly Dispatch[]): void {
    this.assertAlive('submit');
    if (dispatches.length === 0) return;
    const steps = this.#resolve(dispatches, (parts) => this.#uploads.once(parts));
    const encoder = this.device.createCommandEncoder({ label: 'pageflash' });
    if (this.#profiler) {
      for (const step of steps) {
        const pass = this.#profiler.beginPass(encoder, step.kernel);
        encode(step, pass);
        pass.end();
      }
    } else {
      const pass = encoder.beginComputePass({ label: 'pageflash' });
      for (const step of steps) encode(step, pass);
      pass.end();
    }
    this.device.queue.submit([encoder.finish()]);
  }

  /** GPU times of the dispatches submitted since the last call; needs the option `profile`. */
  async takeProfile(): Promise<DispatchTime[]> {
    this.assertAlive('takeProfile');
    if (!this.#profiler) {
      throw new PageflashError('argument', 'takeProfile: this runtime was made without { profile: true }.');
    }
    return this.#profiler.take();
  }

  /** Free all GPU memory of the runtime. Tensors are the caller's and stay. */
  destroy(): void {
    this.#gone ??= 'it was destroyed';
    this.#bindGroups.clear();
    this.#memory.freeAll();
  }

  /** @throws PageflashError `device` once the runtime was destroyed or its device lost */
  assertAlive(caller: string): void {
    if (this.#gone) {
      throw new PageflashError(
        'device',
        `${caller}: the runtime cannot be used any more, since ${this.#gone}.`,
      );
    }
  }

  #resolve(dispatches: readonly Dispatch[], upload: (parts: readonly Uint8Array[]) => BufferRange[]): Step[] {
    // Each distinct array goes up once, however many dispatches name it.
    const arrays = new Map<HostData, number>();
    const parts = dispatches.map(({ kernel, params }) => packed(kernel.params, params));
    for (const { bindings } of dispatches) {
      for (const binding of Object.values(bindings)) {
        if (!ArrayBuffer.isView(binding) || arrays.has(binding)) continue;
        arrays.set(binding, parts.length);
        parts.push(new Uint8Array(binding.buffer, binding.byteOffset, binding.byteLength));
      }
    }
    const uploaded = upload(parts);
    return dispatches.map(({ kernel, spec, bindings, grid }, index) => {
      const rangeOf = ({ name, access }: KernelBinding): BufferRange => {
        if (access === 'uniform') return uploaded[index]!;
        const bound = bindings[name];
        if (!bound || isEmpty(bound)) return this.#scratch.get(`unused ${name}`, 16);
        if (ArrayBuffer.isView(bound)) return uploaded[arrays.get(bound)!]!;
        if ('scratch' in bound) return this.#scratch.get(bound.scratch, bound.bytes);
        const { offset, size } = windowOf(bound);
        return { buffer: bound.buffer, offset, size };
      };
      const ranges = new Map(kernel.bindings.map((binding) => [binding.binding, rangeOf(binding)]));
      return {
        kernel: kernel.name,
        pipeline: this.#pipelines.get({ kernel, spec }),
        group: this.#bindGroups.get(this.#pipelines.bindGroupLayout(kernel), kernel.name, ranges),
        grid,
      };
    });
  }
}

/** A dispatch with everything that WebGPU wants for it. */
interface Step {
  readonly kernel: string;
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly grid: readonly [number, number, number];
}

/** WebGPU binds no empty range. */
function isEmpty(bound: Tensor | HostData | Scratch): boolean {
  return 'shape' in bound && elementCount(bound.shape) === 0;
}

function encode({ pipeline, group, grid }: Step, pass: GPUComputePassEncoder): void {
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(...grid);
}
