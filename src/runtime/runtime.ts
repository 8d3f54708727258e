import { noteDevice } from '../core/bufferOrigins.js';
import type { DeviceClass, DeviceTraits, Tier } from '../core/deviceTraits.js';
import type { Dispatch } from '../core/dispatch.js';
import { bytesPerElement, type DType } from '../core/dtype.js';
import { PageflashError } from '../core/errors.js';
import { elementCount, wholeWords, type Tensor } from '../core/tensor.js';
import { BindGroups, type BufferRange } from './bindGroups.js';
import { bytesOf, hostArrays } from './bindingRanges.js';
import { checkDevice, checkOptions, checkTensorArguments, checkVariants } from './checkArguments.js';
import { Faults } from './faults.js';
import { Lifetime } from './lifetime.js';
import { Memory } from './memory.js';
import { packed } from './packed.js';
import { Pipelines, type Variant } from './pipelines.js';
import { Profiler, type DispatchTime } from './profiler.js';
import { readTraits } from './readTraits.js';
import { Recording } from './recording.js';
import { ScratchBuffers } from './scratch.js';
import { encode, Steps, type Step } from './steps.js';
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
  checkDevice(device);
  const { tier, deviceClass, profile } = checkOptions(device, options);
  const traits = readTraits(device, tier);
  return new Runtime(device, deviceClass ? { ...traits, deviceClass } : traits, profile);
}

/** Turns dispatches into GPU work, and keeps what can be kept from one to the next. */
export class Runtime {
  readonly device: GPUDevice;
  readonly traits: DeviceTraits;
  readonly #lifetime: Lifetime;
  readonly #faults: Faults;
  readonly #pipelines: Pipelines;
  readonly #bindGroups: BindGroups;
  readonly #steps: Steps;
  readonly #memory: Memory;
  readonly #uploads: Uploads;
  readonly #scratch: ScratchBuffers;
  readonly #profiler: Profiler | undefined;

  /** @internal Use `createRuntime`. */
  constructor(device: GPUDevice, traits: DeviceTraits, profile: boolean) {
    this.device = device;
    this.traits = traits;
    noteDevice(traits, device);
    this.#lifetime = new Lifetime(device);
    this.#faults = new Faults(device);
    this.#pipelines = new Pipelines(device, this.#faults);
    this.#bindGroups = new BindGroups(device);
    this.#steps = new Steps(this.#pipelines, this.#bindGroups);
    this.#memory = new Memory(device, this.#faults);
    this.#uploads = new Uploads(device, this.#memory);
    this.#scratch = new ScratchBuffers(this.#memory);
    this.#profiler = profile ? new Profiler(device) : undefined;
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
    checkVariants('prepare', variants);
    await this.#lifetime.until('prepare', this.#pipelines.prepare(variants));
  }

  /** A new contiguous tensor in a buffer of its own, which the caller destroys. */
  createTensor(shape: readonly number[], dtype: DType, label = 'tensor'): Tensor {
    this.assertAlive('createTensor');
    checkTensorArguments('createTensor', shape, { dtype, label });
    const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
    const size = wholeWords(elementCount(shape) * bytesPerElement(dtype));
    const usage = STORAGE | COPY_SRC | COPY_DST;
    const buffer = this.watch('createTensor', () => this.#faults.createBuffer({ label, size, usage }));
    noteDevice(buffer, this.device);
    return { buffer, dtype, shape };
  }

  /** Record dispatches, in order, into a pass that the caller ends and submits. */
  record(dispatches: readonly Dispatch[], pass: GPUComputePassEncoder): void {
    this.assertAlive('record');
    if (dispatches.length === 0) return;
    const steps = this.watch('record', () => this.#resolve(dispatches, (parts) => this.#uploads.keep(parts)));
    for (const step of steps) encode(step, pass);
  }

  /** @internal For plans: record steps into a pass of the caller, or submit them at once. */
  run(caller: string, steps: readonly Step[], pass: GPUComputePassEncoder | undefined): void {
    this.assertAlive(caller);
    if (pass) for (const step of steps) encode(step, pass);
    else if (steps.length > 0) this.watch(caller, () => this.#submit(steps));
  }

  /** Record dispatches, in order, and submit them at once. */
  submit(dispatches: readonly Dispatch[]): void {
    this.assertAlive('submit');
    if (dispatches.length === 0) return;
    this.watch('submit', () => this.#submit(this.#resolve(dispatches, (parts) => this.#uploads.once(parts))));
  }

  /** @internal For plans: dispatches to be recorded again and again. */
  createRecording(): Recording {
    this.assertAlive('createRecording');
    return new Recording(this.device, this.#memory, this.#steps);
  }

  /**
   * Wait until the GPU has finished all that the runtime has submitted so far. What the device has to say against it
   * comes out here, or in the next call of anything on the runtime if that is earlier, and only once.
   *
   * @throws PageflashError `device` if the device is lost or the runtime destroyed, also while waiting; `buffer` if the
   * device refused work, as when a buffer was destroyed or is another device's; `limit` if it had no memory for a tensor
   * or for what the runtime needs itself; `compile` if the compiler refused a kernel that was not prepared
   */
  async done(): Promise<void> {
    this.assertAlive('done');
    const work = Promise.all([this.device.queue.onSubmittedWorkDone(), this.#faults.settled]);
    await this.#lifetime.until('done', work);
    this.#faults.throwUnheard();
  }

  /** GPU times of the dispatches submitted since the last call; needs the option `profile`. */
  async takeProfile(): Promise<DispatchTime[]> {
    this.assertAlive('takeProfile');
    if (!this.#profiler) {
      throw new PageflashError('argument', 'takeProfile: this runtime was made without { profile: true }.');
    }
    return this.#lifetime.until('takeProfile', this.#profiler.take());
  }

  /** Free all GPU memory of the runtime. Tensors are the caller's and stay. */
  destroy(): void {
    this.#lifetime.end('it was destroyed');
    this.#bindGroups.clear();
    this.#memory.freeAll();
  }

  /**
   * @throws PageflashError `device` once the runtime was destroyed or its device lost, or what an earlier call has come
   * to, if nobody has heard of it yet
   */
  assertAlive(caller: string): void {
    this.#lifetime.assert(caller);
    this.#faults.throwUnheard();
  }

  /** @internal Give the device work in the name of a call, which hears later if it is refused. */
  watch<T>(caller: string, work: () => T): T {
    return this.#faults.watch(caller, work);
  }

  /** @internal What a promise gives, or a rejection once the runtime cannot be used any more. */
  until<T>(caller: string, work: Promise<T>): Promise<T> {
    return this.#lifetime.until(caller, work);
  }

  #submit(steps: readonly Step[]): void {
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

  #resolve(dispatches: readonly Dispatch[], upload: (parts: readonly Uint8Array[]) => BufferRange[]): Step[] {
    const params = dispatches.map((dispatch) => packed(dispatch.kernel.params, dispatch.params));
    // Each distinct array goes up once, however many dispatches name it.
    const arrays = [...hostArrays(dispatches).keys()];
    const uploaded = upload([...params, ...arrays.map(bytesOf)]);
    const places = new Map(arrays.map((array, i) => [array, uploaded[params.length + i]!]));
    return dispatches.map((dispatch, i) =>
      this.#steps.of(dispatch, { params: uploaded[i]!, arrays: places, scratch: this.#scratch }),
    );
  }
}
