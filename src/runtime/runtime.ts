import { noteDevice } from '../core/bufferOrigins.js';
import { checkNames } from '../core/checkNames.js';
import type { DeviceClass, DeviceTraits, Tier } from '../core/deviceTraits.js';
import type { Dispatch } from '../core/dispatch.js';
import { bytesPerElement, type DType } from '../core/dtype.js';
import { PageflashError } from '../core/errors.js';
import { BUFFER_USAGE } from '../core/gpuFlags.js';
import { elementCount, wholeWords, type Tensor } from '../core/tensor.js';
import { BindGroups, type BufferRange } from './bindGroups.js';
import { bytesOf, hostArrays } from './bindingRanges.js';
import {
  checkDevice,
  checkOptions,
  checkPrepareOptions,
  checkTensorArguments,
  checkVariants,
  PREPARE_OPTIONS,
} from './checkArguments.js';
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
import { readBytes, type Transfer } from './transfers.js';
import { Uploads } from './uploads.js';

export interface RuntimeOptions {
  /** The most that kernels may use of the device. Default: all that it has. */
  readonly tier?: Tier | undefined;
  /** Which tiles to use. Default: what the adapter's names tell. */
  readonly deviceClass?: DeviceClass | undefined;
  /** Time every dispatch that the runtime submits itself: see `takeProfile`. Default false. */
  readonly profile?: boolean | undefined;
}

export interface PrepareOptions {
  /** Called after each kernel, with how many of them are ready. */
  readonly onProgress?: ((progress: PrepareProgress) => void) | undefined;
  /** Stops before the next kernel; what is being compiled by then is kept. */
  readonly signal?: AbortSignal | undefined;
  /** Run each kernel once, on nothing: some drivers compile only then. Default false. */
  readonly warmUp?: boolean | undefined;
}

export interface PrepareProgress {
  readonly done: number;
  readonly total: number;
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
   * Compile kernels ahead, in the background, so that no call has to wait for a compiler. The thread is given back after
   * each kernel, and calls may be made meanwhile: one that needs a kernel which is not ready compiles it itself.
   *
   * @throws PageflashError `compile` with the compiler's words; `device` once the device is lost or the runtime destroyed
   * @throws the reason of `signal`, once it is aborted
   */
  async prepare(variants: readonly Variant[], options: PrepareOptions = {}): Promise<void> {
    this.assertAlive('prepare');
    checkVariants('prepare', variants);
    checkNames('prepare', options, PREPARE_OPTIONS);
    checkPrepareOptions('prepare', options);
    await this.compile('prepare', variants, options);
  }

  /** @internal `prepare` in the name of another call, all arguments checked. */
  async compile(
    caller: string,
    variants: readonly Variant[],
    { onProgress, signal, warmUp = false }: PrepareOptions = {},
  ): Promise<void> {
    signal?.throwIfAborted();
    const proceed = (): void => {
      this.#lifetime.assert(caller);
      signal?.throwIfAborted();
    };
    let done = 0;
    const onReady = (variant: Variant, total: number): void => {
      proceed();
      if (warmUp) this.watch(caller, () => this.#submit(this.#resolveOnce([idle(variant)])));
      onProgress?.({ done: ++done, total });
    };
    const prepared = this.#pipelines.prepare(variants, proceed, onReady);
    const alive = this.#lifetime.until(caller, prepared);
    await (signal ? unlessAborted(alive, signal) : alive);
    if (warmUp) await this.#finish(caller);
  }

  /** A new contiguous tensor in a buffer of its own, which the caller destroys. */
  createTensor(shape: readonly number[], dtype: DType, label = 'tensor'): Tensor {
    this.assertAlive('createTensor');
    checkTensorArguments('createTensor', shape, { dtype, label });
    const { STORAGE, COPY_SRC, COPY_DST } = BUFFER_USAGE;
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
    else if (steps.length > 0) this.watch(caller, () => this.#submit(steps, this.#profiler));
  }

  /** Record dispatches, in order, and submit them at once. */
  submit(dispatches: readonly Dispatch[]): void {
    this.assertAlive('submit');
    if (dispatches.length === 0) return;
    this.watch('submit', () => this.#submit(this.#resolveOnce(dispatches), this.#profiler));
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
    await this.#finish('done');
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

  /**
   * @internal Fill bytes of the host with what all work submitted before the call leaves.
   *
   * @throws PageflashError `device`, `limit`, `buffer`, or what the device has said by then against that work
   */
  async read(caller: string, transfers: readonly Transfer[]): Promise<void> {
    this.assertAlive(caller);
    const work = Promise.all([readBytes(caller, this.device, transfers), this.#faults.settled]);
    await this.#lifetime.until(caller, work);
    this.#faults.throwUnheard();
  }

  /** @internal What a promise gives, or a rejection once the runtime cannot be used any more. */
  until<T>(caller: string, work: Promise<T>): Promise<T> {
    return this.#lifetime.until(caller, work);
  }

  /** Wait for the GPU, and hear what it has to say against what it was given. */
  async #finish(caller: string): Promise<void> {
    const work = Promise.all([this.device.queue.onSubmittedWorkDone(), this.#faults.settled]);
    await this.#lifetime.until(caller, work);
    this.#faults.throwUnheard();
  }

  #submit(steps: readonly Step[], profiler?: Profiler): void {
    const encoder = this.device.createCommandEncoder({ label: 'pageflash' });
    if (profiler) {
      for (const step of steps) {
        const pass = profiler.beginPass(encoder, step.kernel);
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

  #resolveOnce(dispatches: readonly Dispatch[]): Step[] {
    return this.#resolve(dispatches, (parts) => this.#uploads.once(parts));
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

/** A run of a kernel that has nothing to do: without any work in its parameters, it reads and writes nothing. */
function idle({ kernel, spec }: Variant): Dispatch {
  const params = Object.fromEntries(Object.keys(kernel.params.fields).map((name) => [name, 0]));
  return { kernel, spec, params, bindings: {}, grid: [1, 1, 1] };
}

/** What a promise gives, or a rejection with the signal's reason if that is earlier. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', stop);
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}
