import { PageflashError, requestDevice } from 'pageflash';
import { adviseOnAdapter, adviseOnBrowser, gpuName, type Advice } from '../../advice.js';
import { EngineError, refuse } from '../../engine/engineError.js';
import { KernelTimes } from '../../engine/gpu/kernelTimes.js';
import { openModel } from '../../engine/model/openModel.js';
import { Engine } from '../../engine/serving/engine.js';
import { TextCodec } from '../../engine/text/textCodec.js';
import type { EngineMode, ModelChoice, ModelFacts, Status } from '../protocol.js';
import { fitModel, type Room } from './fit.js';
import type { Restored } from './keptPages.js';
import { nameOf, openFiles } from './modelStore.js';

/** A model that is ready to answer. */
export interface LoadedModel {
  readonly engine: Engine;
  readonly codec: TextCodec;
  readonly device: GPUDevice;
  readonly times: KernelTimes | undefined;
  readonly facts: ModelFacts;
  readonly mode: EngineMode;
  /** What was put into its cache before it was ready. */
  readonly restored: Restored;
}

/** A model that is loaded, but not ready yet. */
export type OpenedModel = Omit<LoadedModel, 'restored'>;

export interface HostEvents {
  readonly onStatus: (status: Status) => void;
  /** A model is to be ready. Returns what was put into its cache. */
  readonly onOpened: (model: OpenedModel) => Promise<Restored>;
  /** A model is ready, or the same one again on another device or in another mode. */
  readonly onReady: (model: LoadedModel) => void;
  /** Nothing is loaded, and nothing will be before somebody asks for it. */
  readonly onFailed: (advice: Advice) => void;
}

/** A device that is lost so often within so many milliseconds is not asked for again. */
const MAX_LOSSES = 3;
const LOSSES_MS = 30_000;
/** Calls fail a little earlier than the device says that it is lost. */
const LOSS_NOTICE_MS = 1000;

/** Owns the device and the engine: loads models, and begins anew when the device is lost. */
export class EngineHost {
  readonly #events: HostEvents;
  #device: GPUDevice | undefined;
  #asking: Promise<GPUDevice> | undefined;
  #loaded: LoadedModel | undefined;
  #wanted: { readonly choice: ModelChoice; readonly mode: EngineMode } | undefined;
  #loading: AbortController | undefined;
  /** Once the engine before is gone. */
  #freed: Promise<unknown> | undefined;
  readonly #losses: number[] = [];

  constructor(events: HostEvents) {
    this.#events = events;
  }

  get loaded(): LoadedModel | undefined {
    return this.#loaded;
  }

  /** Loads a model in the place of the one that is there. */
  async load(choice: ModelChoice, mode: EngineMode): Promise<void> {
    this.#wanted = { choice, mode };
    this.#drop();
    const loading = (this.#loading = new AbortController());
    const { signal } = loading;
    let device: GPUDevice | undefined;
    try {
      if (!this.#device) this.#events.onStatus({ kind: 'starting' });
      device = await this.device();
      // Before another model takes memory.
      await this.#freed;
      signal.throwIfAborted();
      const opened = await this.#open(device, signal);
      if (signal.aborted) return void opened.engine.destroy();
      const loaded = { ...opened, restored: await this.#events.onOpened(opened) };
      if (signal.aborted) return void opened.engine.destroy();
      this.#loaded = loaded;
      this.#events.onStatus({ kind: 'ready', model: loaded.facts, mode });
      this.#events.onReady(loaded);
    } catch (error) {
      // Where the device is lost, the model is being loaded on another one.
      if (signal.aborted || (device && (await this.isLost(device)))) return;
      this.#fail(adviceFor(error));
    }
  }

  /** Stops loading. */
  stop(): void {
    if (!this.#loading || this.#loaded) return;
    this.#fail({
      title: 'Loading was stopped',
      text: 'What came so far is kept in this browser, and is not loaded again.',
      steps: ['Choose a model to go on.'],
    });
  }

  /** Loads the same model again in another mode. */
  setMode(mode: EngineMode): void {
    if (this.#wanted) void this.load(this.#wanted.choice, mode);
  }

  /** After an error of the engine: resolves once it is clear whether the device is lost, with whether it is. */
  isLost(device: GPUDevice): Promise<boolean> {
    const isLost = device.lost.then(() => true);
    return Promise.race([isLost, new Promise<false>((no) => setTimeout(() => no(false), LOSS_NOTICE_MS))]);
  }

  /** Makes the engine anew, whose state is not to be trusted after an error. */
  restart(): void {
    if (this.#wanted) void this.load(this.#wanted.choice, this.#wanted.mode);
  }

  /** The device, which is asked for the first time, and after it was lost. */
  device(): Promise<GPUDevice> {
    if (this.#device) return Promise.resolve(this.#device);
    this.#asking ??= this.#openDevice().finally(() => (this.#asking = undefined));
    return this.#asking;
  }

  async #openDevice(): Promise<GPUDevice> {
    const advice = adviseOnBrowser();
    if (advice) throw new AdviceError(advice);
    const device = await requestDevice().catch((error: unknown) => {
      throw new AdviceError(adviseOnAdapter((error as Error).message));
    });
    this.#device = device;
    device.addEventListener('uncapturederror', ({ error }) => this.#refused(device, error));
    void device.lost.then(({ message }) => this.#recover(device, message));
    return device;
  }

  async #open(device: GPUDevice, signal: AbortSignal): Promise<OpenedModel> {
    const { choice, mode } = this.#wanted!;
    const name = nameOf(choice.source);
    const say = (bytes: number, totalBytes: number, secondsLeft?: number): void => {
      if (!signal.aborted) this.#events.onStatus({ kind: 'loading', name, bytes, totalBytes, secondsLeft });
    };
    say(0, 0);
    const { files, finish } = await openFiles(choice.source, signal);
    const model = await openModel(files);
    const { room, sentence } = fitModel({ ...choice, name, model, limits: device.limits });
    if (!room) refuse(sentence);
    const codec = await TextCodec.load(files);
    signal.throwIfAborted();
    const canTime = device.features.has('timestamp-query');
    const times = mode.isTimed && canTime ? new KernelTimes(device) : undefined;
    let shown = 0;
    let nBytes = 0;
    const engine = await Engine.create(device, {
      model,
      ...engineRoom(room),
      attention: mode.attention,
      times,
      signal,
      onProgress: ({ bytes, totalBytes, secondsLeft }) => {
        nBytes = totalBytes;
        const now = performance.now();
        if (bytes < totalBytes && now - shown < 100) return;
        shown = now;
        if (bytes < totalBytes) say(bytes, totalBytes, secondsLeft);
        else if (!signal.aborted) this.#events.onStatus({ kind: 'compiling', name });
      },
    });
    const facts: ModelFacts = {
      name,
      source: choice.source,
      nParameters: room.nParameters,
      weights: room.weights,
      weightBytes: room.weightBytes,
      context: room.context,
      nPages: room.nPages,
      pageSize: room.pageSize,
      nSequences: room.nSequences,
      nLayers: model.config.nLayers,
      nHeads: model.config.nHeads,
      hasChat: codec.hasChatTemplate,
      gpu: gpuName(device),
      isSoftware: engine.traits.deviceClass === 'software',
      canTime,
      notKept: await finish(nBytes),
    };
    return { engine, codec, device, times, facts, mode };
  }

  /** Gives up what is loaded, or being loaded. */
  #drop(): void {
    const loaded = this.#loaded;
    this.#loaded = undefined;
    if (loaded) {
      // A step may be on its way. On a lost device it never ends.
      this.#freed = Promise.race([loaded.engine.destroy(), loaded.device.lost]);
    } else if (this.#loading) {
      // What half a model has taken of the device goes with the device.
      const device = this.#device;
      this.#device = undefined;
      device?.destroy();
    }
    this.#loading?.abort();
    this.#loading = undefined;
  }

  #fail(advice: Advice): void {
    this.#drop();
    this.#events.onStatus({ kind: 'failed', advice });
    this.#events.onFailed(advice);
  }

  #recover(device: GPUDevice, message: string): void {
    if (this.#device !== device) return;
    this.#device = undefined;
    if (!this.#wanted || !this.#loading) return;
    const now = performance.now();
    this.#losses.push(now);
    const nLosses = this.#losses.filter((ms) => ms > now - LOSSES_MS).length;
    const reason = message || 'the browser gives no reason.';
    if (nLosses > MAX_LOSSES) {
      this.#losses.length = 0;
      this.#fail({
        title: 'The GPU is lost again and again',
        text: `It was lost ${nLosses} times in ${LOSSES_MS / 1000} seconds. The last time: ${reason}`,
        steps: [
          'Close other pages and programs that use the GPU, then try again.',
          'Choose a smaller model.',
        ],
      });
      return;
    }
    this.#events.onStatus({ kind: 'recovering', reason });
    void this.load(this.#wanted.choice, this.#wanted.mode);
  }

  /** Nothing that the GPU refused can be relied on, so that everything on it is given up. */
  #refused(device: GPUDevice, error: GPUError): void {
    if (this.#device !== device) return;
    this.#device = undefined;
    this.#fail(error instanceof GPUOutOfMemoryError ? OUT_OF_MEMORY : refusedBy(error.message));
    device.destroy();
  }
}

/** What of the room an engine is made with. */
function engineRoom({
  weights,
  context,
  nPages,
  nSequences,
}: Room): Pick<Room, 'weights' | 'context' | 'nPages' | 'nSequences'> {
  return { weights, context, nPages, nSequences };
}

class AdviceError extends Error {
  readonly advice: Advice;

  constructor(advice: Advice) {
    super(advice.text);
    this.advice = advice;
  }
}

const OUT_OF_MEMORY: Advice = {
  title: 'The GPU has run out of memory',
  text: 'It has less memory for this page than the model and its cache take. The conversations are kept.',
  steps: [
    'Choose a smaller model, or weights of 8 or 4 bits.',
    'Allow the model less memory, so that its cache is smaller.',
    'Close other pages and programs that use the GPU.',
  ],
};

function refusedBy(message: string): Advice {
  return {
    title: 'The GPU refuses something',
    text: message,
    steps: ['Load the model again. If it is refused again, this is a defect of pageflash: please report it.'],
  };
}

function adviceFor(error: unknown): Advice {
  if (error instanceof AdviceError) return error.advice;
  const { name, message } = error as Error;
  const isAllocation = error instanceof RangeError || /out of memory|allocation failed/i.test(message);
  if (isAllocation && !(error instanceof EngineError)) return OUT_OF_MEMORY;
  if (error instanceof EngineError || error instanceof PageflashError)
    return { title: 'The model cannot be loaded', text: message, steps: [] };
  console.error(error);
  return { title: 'The model cannot be loaded', text: `${name}: ${message}`, steps: ['Try again.'] };
}
