import { createRuntime, requestDevice } from '../../src/index.js';
import { isPrompt, type BenchCase, type ShapeKind } from '../cases/cases.js';
import { measureRecording } from '../cases/recording.js';
import { measureCeilings } from '../ceilings/ceilings.js';
import { OnnxBench } from '../onnx/onnxBench.js';
import type { OnnxCase } from '../onnx/onnxCases.js';
import type { AdapterFacts, Ceilings, OnnxRow, RecordingRow, Row } from '../results.js';
import { measureSweep, type SweepArgs } from '../sweep/measureSweep.js';
import type { SweepOutcome } from '../sweep/sweepResults.js';
import { measureCase, type OnProgress } from './measureCase.js';
import type { Effort } from './runner.js';

/** Where the benchmark runs: this process, or a page in a browser. */
export interface BenchHost {
  /** The browser or the runtime, with its version. */
  readonly environment: string;
  readonly adapter: AdapterFacts;
  measure(benchCase: BenchCase, how: HowToMeasure, onProgress: OnProgress): Promise<Row>;
  measureRecording(quick: boolean): Promise<RecordingRow>;
  measureSweep(args: SweepArgs, onProgress: OnProgress): Promise<SweepOutcome>;
  measureCeilings(): Promise<Ceilings>;
  measureOnnx(onnxCase: OnnxCase, quick: boolean, onProgress: OnProgress): Promise<OnnxRow>;
  close(): Promise<void>;
}

export interface HowToMeasure {
  readonly quick: boolean;
  /** Without peers. */
  readonly alone?: boolean;
}

/** Measures rows on one device, and on a new one if a row has caused the loss of the device. */
export class DeviceBench {
  readonly #gpu: GPU;
  #device: Promise<GPUDevice> | undefined;
  readonly #onnx: OnnxBench | undefined;
  readonly #errors: string[] = [];

  /** @param onnxFolder URL of the folder `dist` of onnxruntime-web; undefined if it is not installed */
  constructor(gpu: GPU, onnxFolder: string | undefined) {
    this.#gpu = gpu;
    this.#onnx = onnxFolder === undefined ? undefined : new OnnxBench(gpu, onnxFolder);
  }

  async adapter(): Promise<AdapterFacts> {
    const device = await this.#getDevice();
    const { vendor = '', architecture = '', device: name = '', description = '' } = device.adapterInfo;
    return {
      vendor,
      architecture,
      device: name,
      description,
      software: isSoftware(device),
      features: [...device.features].toSorted(),
      maxBindingBytes: device.limits.maxStorageBufferBindingSize,
    };
  }

  /** Measures a case. If anything goes wrong, the row says what. */
  async measure(
    benchCase: BenchCase,
    { quick, alone = false }: HowToMeasure,
    onProgress: OnProgress,
  ): Promise<Row> {
    try {
      const device = await this.#getDevice();
      const effort = effortFor({
        software: isSoftware(device),
        quick,
        kind: isPrompt(benchCase) ? 'prefill' : 'decode',
      });
      const row = await measureCase({ device, benchCase, effort, alone, onProgress });
      this.#throwErrors();
      return row;
    } catch (error) {
      this.#errors.length = 0;
      return { case: benchCase, status: 'failed', message: (error as Error).message };
    }
  }

  /** Measures what recording costs. If anything goes wrong, the result says what. */
  async measureRecording(quick: boolean): Promise<RecordingRow> {
    try {
      const costs = await measureRecording(await this.#getDevice(), quick);
      this.#throwErrors();
      return { status: 'measured', costs };
    } catch (error) {
      this.#errors.length = 0;
      return { status: 'failed', message: (error as Error).message };
    }
  }

  /** Measures every candidate of a cell. If anything goes wrong, the row says what. */
  async measureSweep(args: SweepArgs, onProgress: OnProgress): Promise<SweepOutcome> {
    return measureSweep(await this.#getDevice(), args, onProgress);
  }

  async measureCeilings(): Promise<Ceilings> {
    return measureCeilings(await this.#getDevice());
  }

  /** Measures a case beside onnxruntime-web. If pageflash goes wrong, or the device cannot run it, the row says why. */
  async measureOnnx(onnxCase: OnnxCase, quick: boolean, onProgress: OnProgress): Promise<OnnxRow> {
    const skipped = (message: string): OnnxRow => ({ case: onnxCase, status: 'skipped', message });
    if (!this.#onnx) return skipped('onnxruntime-web is not installed');
    try {
      const device = await this.#getDevice();
      if (onnxCase.dtype === 'f16' && !device.features.has('shader-f16')) {
        return skipped('the device has no shader-f16');
      }
      const software = isSoftware(device);
      if (software && onnxCase.operator === 'PagedAttention' && onnxCase.kind === 'prefill') {
        return skipped('its kernel for prompts takes software adapters many minutes to compile');
      }
      const effort = effortFor({ software, quick, kind: onnxCase.kind });
      return await this.#onnx.measure(device, onnxCase, effort, onProgress);
    } catch (error) {
      return { case: onnxCase, status: 'failed', message: (error as Error).message };
    } finally {
      // What onnxruntime does to a device is its own affair.
      this.#errors.length = 0;
    }
  }

  async destroy(): Promise<void> {
    (await this.#device)?.destroy();
  }

  #getDevice(): Promise<GPUDevice> {
    this.#device ??= this.#request();
    return this.#device;
  }

  async #request(): Promise<GPUDevice> {
    const device = await requestDevice({ gpu: this.#gpu, label: 'bench' });
    device.addEventListener('uncapturederror', ({ error }) => this.#errors.push(error.message));
    void device.lost.then(() => {
      this.#device = undefined;
    });
    return device;
  }

  #throwErrors(): void {
    if (this.#errors.length > 0) throw new Error(this.#errors.join('\n'));
  }
}

function isSoftware(device: GPUDevice): boolean {
  return createRuntime(device).traits.deviceClass === 'software';
}

interface EffortArgs {
  readonly software: boolean;
  readonly quick: boolean;
  readonly kind: ShapeKind;
}

/** The time that a row may take. On software adapters a prompt takes seconds, so there are few rounds. */
function effortFor({ software, quick, kind }: EffortArgs): Effort {
  if (software) {
    const minSampleMs = kind === 'decode' ? 20 : 0;
    return quick
      ? { minRounds: 3, maxRounds: 5, budgetMs: 1500, minSampleMs }
      : { minRounds: 3, maxRounds: 9, budgetMs: 6000, minSampleMs };
  }
  return quick
    ? { minRounds: 5, maxRounds: 7, budgetMs: 2000, minSampleMs: 30 }
    : { minRounds: 9, maxRounds: 21, budgetMs: 6000, minSampleMs: 100 };
}
