import { createRuntime } from '../../src/index.js';
import { HELPFUL_LIMITS } from '../../src/runtime/requestDevice.js';
import { download } from '../../tools/deviceTensor.js';
import { ratios, summarize } from '../../tools/statistics.js';
import {
  captureErrors,
  chooseRepetitions,
  idle,
  timeCalls,
  WARM_MS,
  warmUpClocks,
  type TimedCall,
} from '../../tools/timing.js';
import { checkAgainstReference, type Reals } from '../cases/workload.js';
import type { OnProgress } from '../device/measureCase.js';
import type { Effort } from '../device/runner.js';
import { ONNX_MODES, type MeasuredOnnxRow, type OnnxMode, type OnnxModeResult } from '../results.js';
import { attentionModel } from './attentionModels.js';
import type { OnnxCase } from './onnxCases.js';
import { loadOnnxRuntime, openSession, type OnnxRuntime, type OnnxSession } from './onnxRuntime.js';
import {
  onnxExpectedRows,
  onnxNumbers,
  onnxStep,
  pageflashStep,
  type OnnxPlace,
  type OnnxStep,
} from './onnxWorkload.js';

/**
 * Runs pageflash beside onnxruntime-web, which has its own kernels for devices with and without subgroups: both are timed
 * and checked. Devices and sessions are kept from case to case.
 */
export class OnnxBench {
  readonly #gpu: GPU;
  readonly #folder: string;
  #onnx: Promise<OnnxRuntime> | undefined;
  #withoutSubgroups: Promise<GPUDevice> | undefined;
  readonly #sessions = new WeakMap<GPUDevice, Map<string, Promise<OnnxSession>>>();

  /** @param folder URL of the folder `dist` of onnxruntime-web */
  constructor(gpu: GPU, folder: string) {
    this.#gpu = gpu;
    this.#folder = folder;
  }

  /**
   * Checks pageflash against the reference and each mode against pageflash, then times all in interleaved rounds.
   *
   * @param device has subgroups if the adapter has
   * @throws Error if pageflash is wrong, or the device refuses something of it
   */
  async measure(
    device: GPUDevice,
    onnxCase: OnnxCase,
    effort: Effort,
    onProgress: OnProgress,
  ): Promise<MeasuredOnnxRow> {
    const numbers = onnxNumbers(onnxCase);
    const runtime = createRuntime(device);
    const isSoftware = runtime.traits.deviceClass === 'software';
    const own = new Competitor(device, pageflashStep(runtime, onnxCase, numbers), effort, isSoftware);
    const competitors = [own];
    try {
      onProgress(0, 'compiling pageflash');
      const out = await own.firstRun();
      if (out instanceof Error) throw out;
      const check = checkAgainstReference(out, onnxExpectedRows(numbers, onnxCase), onnxCase.dtype);
      const modes: ModeRun[] = [];
      for (const [i, mode] of ONNX_MODES.entries()) {
        onProgress(0.1 + 0.3 * i, `onnxruntime-web compiles, ${mode}`);
        try {
          const place = await this.#open(await this.#deviceFor(mode, device), onnxCase);
          const theirs = new Competitor(place.device, onnxStep(place, onnxCase, numbers), effort, isSoftware);
          competitors.push(theirs);
          const theirOut = await theirs.firstRun();
          if (theirOut instanceof Error) throw theirOut;
          modes.push({ mode, theirs, ...differenceOf(theirOut, out, onnxCase) });
        } catch (error) {
          modes.push({ mode, skipped: firstLine(error as Error) });
        }
      }
      const running = [own, ...modes.flatMap((run) => ('theirs' in run ? run.theirs : []))];
      await takeRounds(running, effort, onProgress);
      const version = (await this.#onnx?.catch(() => undefined))?.env.versions.common;
      return {
        case: onnxCase,
        status: 'measured',
        ...(version !== undefined && { version }),
        check,
        pageflashMs: summarize(own.samples),
        modes: modes.map((run) => modeResult(run, own)),
      };
    } finally {
      for (const { step } of competitors) step.destroy();
      runtime.destroy();
    }
  }

  async #open(device: GPUDevice, onnxCase: OnnxCase): Promise<OnnxPlace> {
    const onnx = await (this.#onnx ??= loadOnnxRuntime(this.#folder, this.#gpu));
    const { operator, dtype, nHeads, nKvHeads, headDim } = onnxCase;
    const shape = { operator, dtype, nHeads, nKvHeads, headDim };
    let sessions = this.#sessions.get(device);
    if (!sessions) this.#sessions.set(device, (sessions = new Map()));
    const key = Object.values(shape).join();
    let session = sessions.get(key);
    if (!session) sessions.set(key, (session = openSession(onnx, device, attentionModel(shape))));
    const opened = await session;
    return { onnx, device, run: (feeds, fetches) => opened.run(feeds, fetches) };
  }

  /** The given device if it has subgroups, or one that has none: a new one if the last was lost. */
  async #deviceFor(mode: OnnxMode, device: GPUDevice): Promise<GPUDevice> {
    if (mode === 'subgroups') {
      if (!device.features.has('subgroups')) throw new Error('the device has no subgroups');
      return device;
    }
    this.#withoutSubgroups ??= requestWithoutSubgroups(this.#gpu).then((other) => {
      void other.lost.then(() => {
        this.#withoutSubgroups = undefined;
      });
      return other;
    });
    return this.#withoutSubgroups;
  }
}

async function requestWithoutSubgroups(gpu: GPU): Promise<GPUDevice> {
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) throw new Error('there is no second adapter');
  return adapter.requestDevice({
    requiredFeatures: (['shader-f16'] as const).filter((feature) => adapter.features.has(feature)),
    requiredLimits: Object.fromEntries(HELPFUL_LIMITS.map((limit) => [limit, adapter.limits[limit]])),
  });
}

/** A step that takes part in the rounds. */
class Competitor {
  readonly step: OnnxStep;
  readonly samples: number[] = [];
  readonly #device: GPUDevice;
  readonly #effort: Effort;
  readonly #isSoftware: boolean;
  #repetitions = 1;

  constructor(device: GPUDevice, step: OnnxStep, effort: Effort, isSoftware: boolean) {
    this.#device = device;
    this.step = step;
    this.#effort = effort;
    this.#isSoftware = isSoftware;
  }

  /** The output, or why there is none. */
  async firstRun(): Promise<Float32Array | Error> {
    const error = await captureErrors(this.#device, async () => {
      await this.step.call();
      await idle(this.#device);
    });
    return error ? new Error(error.message) : download(this.#device, this.step.out);
  }

  async warmUp(): Promise<void> {
    const { minSampleMs } = this.#effort;
    if (minSampleMs > 0) {
      this.#repetitions = await chooseRepetitions(this.#device, this.#call, minSampleMs);
    }
  }

  async takeSample(): Promise<void> {
    if (!this.#isSoftware) await warmUpClocks(this.#device, this.#call, WARM_MS);
    this.samples.push(await timeCalls(this.#device, this.#call, this.#repetitions));
  }

  get #call(): TimedCall {
    return this.step.call;
  }
}

/** A mode that runs, with its largest difference from pageflash; or one that does not. */
type ModeRun =
  | {
      readonly mode: OnnxMode;
      readonly theirs: Competitor;
      readonly maxDifference: number;
      readonly allowed: number;
    }
  | { readonly mode: OnnxMode; readonly skipped: string };

async function takeRounds(
  all: readonly Competitor[],
  { minRounds, maxRounds, budgetMs }: Effort,
  onProgress: OnProgress,
): Promise<void> {
  for (const one of all) await one.warmUp();
  const start = performance.now();
  for (let round = 0; round < maxRounds; round++) {
    if (round >= minRounds && performance.now() - start >= budgetMs) break;
    onProgress(0.7 + (0.3 * round) / maxRounds, `round ${round + 1}`);
    const first = round % all.length;
    for (const one of [...all.slice(first), ...all.slice(0, first)]) await one.takeSample();
  }
}

function modeResult(run: ModeRun, own: Competitor): OnnxModeResult {
  if ('skipped' in run) return run;
  const { mode, theirs, maxDifference, allowed } = run;
  return {
    mode,
    ms: summarize(theirs.samples),
    ratio: summarize(ratios(own.samples, theirs.samples)),
    maxDifference: Number.isNaN(maxDifference) ? null : maxDifference,
    allowed,
    right: maxDifference <= allowed,
  };
}

/** Five times what pageflash's own outputs may differ by: onnxruntime adds f16 numbers in f16. */
const TOLERANCE = { f32: 1e-4, f16: 1.5e-2 };

/** The largest difference between two outputs, NaN if one has a NaN. */
function differenceOf(theirs: Reals, ours: Reals, { dtype }: OnnxCase) {
  let maxDifference = 0;
  let largest = 1;
  for (let i = 0; i < ours.length; i++) {
    const difference = Math.abs(theirs[i]! - ours[i]!);
    if (!(difference <= maxDifference)) maxDifference = difference;
    largest = Math.max(largest, Math.abs(ours[i]!));
    if (Number.isNaN(difference)) break;
  }
  return { maxDifference, allowed: TOLERANCE[dtype] * largest };
}

function firstLine({ message }: Error): string {
  return message.split('\n')[0]!.slice(0, 200);
}
