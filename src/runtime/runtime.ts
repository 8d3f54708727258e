import { checkNames } from '../core/checkArguments.js';
import { checkedTuning, isProvenBy } from '../core/checkTuning.js';
import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch } from '../core/dispatch.js';
import { bytesPerElement, type DType } from '../core/dtype.js';
import { fail, type PageflashError } from '../core/errors.js';
import type { SelfTest } from '../core/knownAnswer.js';
import { matrixName } from '../core/matrixConfigurations.js';
import type { Pace } from '../core/pace.js';
import { BUFFER_USAGE, noteDevice } from '../core/gpuBuffers.js';
import { elementCount, wholeWords, type Tensor } from '../core/tensor.js';
import { adapterInfoOf, MATRIX_EXTENSION } from './adapterInfo.js';
import { BindGroups, encode, hostArrays, type BoundDispatch } from './boundDispatch.js';
import { Faults } from './faults.js';
import { firstWrongAnswer } from './knownAnswers.js';
import { MatrixUse, unlessAborted } from './matrices.js';
import { Memory, ScratchBuffers, type BufferRange } from './memory.js';
import { Pacer } from './pacer.js';
import { Pipelines, type Variant } from './pipelines.js';
import { Profiler, type DispatchTime } from './profiler.js';
import { Recording, type BoundLayer } from './recording.js';
import { readMatrices, readTraits } from './readTraits.js';
import {
  checkDevice,
  checkPrepareOptions,
  checkRuntimeOptions,
  checkTensorArguments,
  checkVariants,
  PREPARE_OPTIONS,
  type PrepareOptions,
  type RuntimeOptions,
} from './runtimeOptions.js';
import { readBytes, type Transfer } from './transfers.js';
import { packParams, Uploads, wordsOf } from './uploads.js';
import { MOD_PARAMS } from '../wgsl/mods.js';

/**
 * Returns a runtime on any device, one from `requestDevice` or the engine's own.
 *
 * @throws PageflashError `limit` if `profile` is asked of a device without `timestamp-query`, or if the device was made
 * with lower limits than `tuning`; `argument` if `tuning` is for another device or by another version
 */
export function createRuntime(device: GPUDevice, options: RuntimeOptions = {}): Runtime {
  const caller = 'createRuntime';
  checkDevice(caller, device);
  const { tier, deviceClass, profile } = checkRuntimeOptions(caller, device, options);
  const info = adapterInfoOf(device, options.adapterInfo);
  const read = readTraits(device, { tier, deviceClass, info });
  const tuning = options.tuning === undefined ? null : checkedTuning(caller, options.tuning, read);
  const choice = readMatrices(device, { tier, info }, read);
  if ('refusal' in choice) {
    const matricesNote = `Subgroup matrices are not used: ${choice.refusal}`;
    return new Runtime(device, new MatrixUse(device, { ...read, tuning, matricesNote }, null), profile);
  }
  const { matrices } = choice;
  const matricesNote = `Subgroup matrices (${matrixName(matrices)}) are not used before prepare, prepareModel or tune has tested them.`;
  const use = new MatrixUse(device, { ...read, tuning, matricesNote }, matrices);
  if (tuning && isProvenBy(tuning, matrices, info.description)) use.accept('tuned');
  return new Runtime(device, use, profile);
}

/** Turns dispatches into GPU work, and caches pipelines, bind groups and buffers from one call to the next. */
export class Runtime {
  readonly device: GPUDevice;
  readonly #matrices: MatrixUse;
  readonly #faults: Faults;
  readonly #pipelines: Pipelines;
  readonly #bindGroups: BindGroups;
  readonly #memory: Memory;
  readonly #uploads: Uploads;
  readonly #scratch: ScratchBuffers;
  readonly #profiler: Profiler | undefined;
  readonly #pacer = new Pacer();

  /** @internal Use `createRuntime`. */
  constructor(device: GPUDevice, matrices: MatrixUse, profile: boolean) {
    this.device = device;
    this.#matrices = matrices;
    this.#faults = new Faults(device);
    this.#pipelines = new Pipelines(device, this.#faults, (refusal, code) => {
      if (code.includes(MATRIX_EXTENSION)) this.#giveUpMatrices(refusal);
    });
    this.#bindGroups = new BindGroups(device, this.#pipelines);
    this.#memory = new Memory(device, this.#faults);
    this.#uploads = new Uploads(device, this.#memory);
    this.#scratch = new ScratchBuffers(this.#memory);
    this.#profiler = profile ? new Profiler(device) : undefined;
  }

  /**
   * What planning knows of the device. Another object once subgroup matrices have passed their self-test, in `prepare`,
   * `prepareModel` or `tune`: `tier`, `matrices` and `matricesNote` tell.
   */
  get traits(): DeviceTraits {
    return this.#matrices.traits;
  }

  /** @internal What `traits` are once subgroup matrices have passed their self-test; null if there are none to be used. */
  get candidate(): DeviceTraits | null {
    return this.#matrices.candidate;
  }

  /** @internal What `traits` are where subgroup matrices are not used. */
  get fallback(): DeviceTraits {
    return this.#matrices.fallback;
  }

  /** @internal By kind and name, the label of each mod that kernels have been made with. */
  get modLabels(): ReadonlyMap<string, string> {
    return this.#pipelines.modLabels;
  }

  /** How fast the device has proven to be with work that the runtime has submitted itself. */
  get pace(): Pace {
    return this.#pacer;
  }

  /** Records dispatches, in order, and submits them at once. */
  submit(dispatches: readonly Dispatch[]): void {
    this.assertAlive('submit');
    if (dispatches.length === 0) return;
    this.inNameOf('submit', () => this.#submit(this.#bindOnce(dispatches), this.#profiler));
    this.#pacer.watch(this.device, dispatches);
  }

  /**
   * Records dispatches, in order, into a pass that the caller ends and submits.
   *
   * @throws PageflashError `argument` if one has mods that were not prepared
   */
  record(dispatches: readonly Dispatch[], pass: GPUComputePassEncoder): void {
    this.assertAlive('record');
    if (dispatches.length === 0) return;
    this.assertPrepared('record', dispatches);
    const bound = this.inNameOf('record', () => this.#bind(dispatches, (parts) => this.#uploads.keep(parts)));
    for (const dispatch of bound) encode(dispatch, pass);
  }

  /** Binds dispatches to submit now; the next call overwrites their upload buffer. */
  #bindOnce(dispatches: readonly Dispatch[]): BoundDispatch[] {
    return this.#bind(dispatches, (parts) => this.#uploads.once(parts));
  }

  /** Uploads the params and arrays of dispatches in one write, then finds or makes pipelines and bind groups. */
  #bind(
    dispatches: readonly Dispatch[],
    upload: (parts: readonly Uint32Array[]) => BufferRange[],
  ): BoundDispatch[] {
    const params = dispatches.map((dispatch) => packParams(dispatch.kernel.params, dispatch.params));
    // Each array once, however many dispatches bind it.
    const arrays = [...hostArrays(dispatches)];
    const ranges = upload([...params, ...arrays.map(wordsOf)]);
    const arrayRanges = new Map(arrays.map((array, i) => [array, ranges[params.length + i]!]));
    return dispatches.map((dispatch, i) => ({
      kernel: dispatch.kernel.name,
      pipeline: this.#pipelines.get(dispatch),
      group: this.#bindGroups.get(dispatch, {
        params: ranges[i]!,
        arrays: arrayRanges,
        scratch: this.#scratch,
      }),
      grid: dispatch.grid,
    }));
  }

  /** Submits dispatches in one pass, or in a pass for each if they are timed. */
  #submit(dispatches: readonly BoundDispatch[], profiler?: Profiler): void {
    const encoder = this.device.createCommandEncoder({ label: 'pageflash' });
    if (profiler) {
      for (const dispatch of dispatches) {
        const pass = profiler.beginPass(encoder, dispatch.kernel);
        encode(dispatch, pass);
        pass.end();
      }
    } else {
      const pass = encoder.beginComputePass({ label: 'pageflash' });
      for (const dispatch of dispatches) encode(dispatch, pass);
      pass.end();
    }
    this.device.queue.submit([encoder.finish()]);
  }

  /** @internal For plans: returns a recording, for dispatches to be recorded again and again. */
  createRecording(): Recording {
    this.assertAlive('createRecording');
    return new Recording(this.device, this.#memory, this.#pipelines, this.#bindGroups);
  }

  /** @internal Checks that dispatches may be recorded into a caller's pass: that their mods, if any, are compiled. */
  assertPrepared(caller: string, dispatches: readonly Dispatch[]): void {
    for (const dispatch of dispatches) this.#pipelines.assertAccepted(caller, dispatch);
  }

  /** @internal For plans: submits what a recording does for a layer, in a pass of its own. */
  submitLayer(caller: string, recording: Recording, layer: BoundLayer): void {
    if (layer.length > 0) this.inNameOf(caller, () => this.#submit(recording.bound(layer), this.#profiler));
  }

  /**
   * Compiles kernels ahead, in the background, so that no call has to wait for a compiler. Other work of the thread gets
   * its turn after each kernel, and calls may be made meanwhile: one that needs a kernel which is not ready compiles it
   * itself.
   *
   * @throws PageflashError `compile` with the compiler's words; `device` once the device is lost or the runtime destroyed
   * @throws the reason of `signal`, once it is aborted
   */
  async prepare(variants: readonly Variant[], options: PrepareOptions = {}): Promise<void> {
    const caller = 'prepare';
    this.assertAlive(caller);
    checkVariants(caller, variants);
    checkNames(caller, options, PREPARE_OPTIONS);
    checkPrepareOptions(caller, options);
    await this.compile(caller, variants, options);
  }

  /**
   * @internal Does what `prepare` does, in the name of another call, all arguments checked. Where a kernel that uses subgroup
   * matrices is refused, none is used any more, and `onProgress` counts anew.
   */
  async compile(caller: string, variants: readonly Variant[], options: PrepareOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    const test = variants.find(({ when }) => when)?.when!.test;
    if (test) await this.testMatrices(caller, test, options.signal);
    let areUsed: boolean;
    do {
      areUsed = this.traits.matrices !== null;
      const needed = variants.filter(({ when }) => !when || when.matrices === areUsed);
      try {
        await this.#compileAll(caller, needed, options);
      } catch (error) {
        const refusals = needed.map((variant) => variant.when && this.#pipelines.refusalOf(variant));
        const refusal = refusals.find((each) => each !== undefined);
        if (!areUsed || !refusal) throw error;
        this.#giveUpMatrices(refusal);
      }
      // Another call may have given them up.
    } while (areUsed !== (this.traits.matrices !== null));
  }

  async #compileAll(
    caller: string,
    variants: readonly Variant[],
    { onProgress, signal, warmUp = false }: PrepareOptions,
  ): Promise<void> {
    const proceed = (): void => {
      this.#faults.assertNotEnded(caller);
      signal?.throwIfAborted();
    };
    let done = 0;
    const onReady = (variant: Variant, total: number): void => {
      proceed();
      if (warmUp) this.inNameOf(caller, () => this.#submit(this.#bindOnce([idle(variant)])));
      onProgress?.({ done: ++done, total });
    };
    const prepared = this.untilEnded(caller, this.#pipelines.prepare(variants, proceed, onReady));
    await (signal ? unlessAborted(prepared, signal) : prepared);
    if (warmUp) await this.#finish(caller);
  }

  /**
   * @internal Decides whether kernels use subgroup matrices, unless it is decided: they must give the answers of a test.
   *
   * @throws PageflashError `device` once the device is lost or the runtime destroyed
   * @throws the reason of `signal`, once it is aborted
   */
  async testMatrices(caller: string, test: SelfTest, signal: AbortSignal | undefined): Promise<void> {
    const decided = this.#matrices.decide(
      (candidate, stop) => this.#firstWrongAnswer(caller, test, candidate, stop),
      signal,
    );
    await this.untilEnded(caller, decided);
  }

  async #firstWrongAnswer(
    caller: string,
    test: SelfTest,
    candidate: DeviceTraits,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    // Another runtime, so that no error and no buffer of the test is this one's.
    const runtime = new Runtime(this.device, new MatrixUse(this.device, candidate, null), false);
    try {
      return await firstWrongAnswer(runtime, caller, test(candidate), signal);
    } catch (error) {
      this.#faults.assertNotEnded(caller);
      signal.throwIfAborted();
      // Whatever else a driver or a browser throws, calls go on without matrices.
      return brief(error as Error);
    } finally {
      runtime.destroy();
    }
  }

  #giveUpMatrices(refusal: PageflashError): void {
    if (this.traits.matrices) this.#matrices.reject(brief(refusal));
  }

  /**
   * Returns a new contiguous tensor in a buffer of its own, which the caller destroys.
   *
   * @throws PageflashError `limit` if the buffer is larger than the device allows
   */
  createTensor(shape: readonly number[], dtype: DType, label = 'tensor'): Tensor {
    const caller = 'createTensor';
    this.assertAlive(caller);
    checkTensorArguments(caller, shape, dtype, label);
    const { STORAGE, COPY_SRC, COPY_DST } = BUFFER_USAGE;
    const size = wholeWords(elementCount(shape) * bytesPerElement(dtype));
    const usage = STORAGE | COPY_SRC | COPY_DST;
    const buffer = this.inNameOf(caller, () => this.#faults.createBuffer({ label, size, usage }));
    noteDevice(buffer, this.device);
    return { buffer, dtype, shape };
  }

  /**
   * Waits until the GPU has finished all that the runtime has submitted so far. An error that the device reports about it
   * is thrown once: here, or by the next call on the runtime if that comes earlier.
   *
   * @throws PageflashError `device` if the device is lost or the runtime destroyed, also while waiting; `buffer` if the
   * device refused work, as when a buffer was destroyed or is another device's; `limit` if it had no memory for a tensor
   * or for what the runtime needs itself; `compile` if the compiler refused a kernel that was not prepared
   */
  async done(): Promise<void> {
    this.assertAlive('done');
    await this.#finish('done');
  }

  async #finish(caller: string): Promise<void> {
    await this.#faults.settle(caller, this.device.queue.onSubmittedWorkDone());
  }

  /**
   * @internal Fills bytes of the host from buffers, after all work submitted before the call.
   *
   * @throws PageflashError `device`, `limit`, `buffer`, or an error that the device has reported about that work
   */
  async read(caller: string, transfers: readonly Transfer[]): Promise<void> {
    this.assertAlive(caller);
    await this.#faults.settle(caller, readBytes(caller, this.device, transfers));
  }

  /** Returns the GPU times of the dispatches submitted since the last call. It needs the option `profile`. */
  async takeProfile(): Promise<DispatchTime[]> {
    const caller = 'takeProfile';
    this.assertAlive(caller);
    if (!this.#profiler) fail('argument', caller, 'this runtime was made without { profile: true }.');
    return this.untilEnded(caller, this.#profiler.take());
  }

  /** Bytes of GPU memory that the runtime holds for itself, scratch and uploads. Tensors are not counted. */
  get memoryBytes(): number {
    return this.#memory.bytes;
  }

  /** Frees all GPU memory of the runtime. Tensors are the caller's and stay. */
  destroy(): void {
    this.#faults.end('it was destroyed');
    this.#matrices.end();
    this.#bindGroups.clear();
    this.#memory.freeAll();
  }

  /**
   * Checks that the runtime can be used, and throws the error of an earlier call that was not reported yet.
   *
   * @throws PageflashError `device` once the runtime was destroyed or its device lost; or the error that the device has
   * reported about an earlier call, once
   */
  assertAlive(caller: string): void {
    this.#faults.assertAlive(caller);
  }

  /** @internal Gives the device work in the name of a call, for the error if the device refuses it later. */
  inNameOf<T>(caller: string, work: () => T): T {
    return this.#faults.inNameOf(caller, work);
  }

  /** @internal Resolves as a promise does, or rejects once the runtime cannot be used any more. */
  untilEnded<T>(caller: string, work: Promise<T>): Promise<T> {
    return this.#faults.untilEnded(caller, work);
  }
}

/** Returns a dispatch that reads and writes nothing, since its params are 0. */
function idle({ kernel, spec }: Variant): Dispatch {
  const params = Object.fromEntries(Object.keys(kernel.params.fields).map((name) => [name, 0]));
  const bindings = kernel.mods ? { mod_params: new Float32Array(2 * MOD_PARAMS) } : {};
  return { kernel, spec, params, bindings, grid: [1, 1, 1] };
}

/** The beginning of what an error says, in one line without a full stop. */
function brief({ message }: Error): string {
  const [first, second = ''] = message.split('\n');
  return `${first} ${second.trim()}`.trim().replace(/\.$/, '');
}
