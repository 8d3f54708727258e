import { download } from '../../tools/deviceTensor.js';
import { formatBytes } from '../../tools/format.js';
import { summarize } from '../../tools/statistics.js';
import { captureErrors, chooseRepetitions, idle, timeCalls } from '../../tools/timing.js';
import { checkSamples, type Verdict } from './check.js';
import type { Gpu } from './gpu.js';
import {
  createNaive,
  createPageflash,
  leftOutOfNaive,
  Tensors,
  whyNotNaive,
  type CreateArgs,
  type Implementation,
} from './implementations.js';
import { createInputs, tensorBytes, type Inputs } from './inputs.js';
import { SettingError, type Settings } from './settings.js';

export interface RunResult {
  readonly settings: Settings;
  readonly inputs: Inputs;
  readonly verdict: Verdict;
  readonly pageflash: Measured;
  /** Undefined if it cannot run with these settings. */
  readonly naive: Measured | undefined;
  /** A remark on naive attention, such as why it was not run. */
  readonly naiveNote: string | undefined;
}

export interface Measured {
  readonly timing: Timing;
  /** GPU memory besides inputs and outputs. */
  readonly memoryBytes: number;
}

export interface Timing {
  /** Milliseconds per call, one sample for each round. */
  readonly samples: readonly number[];
  readonly medianMs: number;
}

/** Limit of multiply-adds in a call: more would take minutes. */
const MAX_MACS = { software: 5e9, gpu: 2e13 } as const;

/**
 * Run attention with these settings, check the result against the reference, and time it. Nothing stays on the GPU.
 *
 * @throws SettingError if the device lacks the memory, or a call would take minutes
 * @throws PageflashError if the library refuses the settings
 */
export async function run(
  gpu: Gpu,
  settings: Settings,
  onStage: (stage: string) => void,
): Promise<RunResult> {
  const { device, traits } = gpu;
  checkFits(gpu, settings);
  await beginStage(onStage, 'Creating inputs …');
  const inputs = createInputs(settings);
  const implementations: Implementation[] = [];
  try {
    await beginStage(onStage, 'Compiling and running …');
    const pageflash = await prepare(createPageflash, { device, settings, inputs });
    implementations.push(pageflash);
    const out = await download(device, pageflash.out);
    const lse = await download(device, pageflash.lse);

    await beginStage(onStage, 'Comparing with the CPU reference …');
    const verdict = checkSamples(settings, inputs, { out, lse });

    let naiveNote = whyNotNaive(settings, traits);
    if (!naiveNote) {
      await beginStage(onStage, 'Preparing naive attention …');
      try {
        implementations.push(await prepare(createNaive, { device, settings, inputs }));
        naiveNote = leftOutOfNaive(settings);
      } catch (error) {
        naiveNote = `Naive attention cannot run: ${(error as Error).message}`;
      }
    }

    await beginStage(onStage, 'Timing …');
    const timings = await timeAll(device, implementations);
    const [measured, naive] = implementations.map(({ runtime }, i): Measured => ({
      timing: timings[i]!,
      memoryBytes: runtime.memoryBytes,
    }));
    return { settings, inputs, verdict, pageflash: measured!, naive, naiveNote };
  } finally {
    for (const { runtime, tensors } of implementations) {
      runtime.destroy();
      tensors.destroy();
    }
  }
}

/** Show the name of the next stage, and give the browser time to draw it. */
async function beginStage(onStage: (stage: string) => void, stage: string): Promise<void> {
  onStage(stage);
  await new Promise((resolve) => setTimeout(resolve, 20));
}

function checkFits({ device, traits }: Gpu, settings: Settings): void {
  const most = Math.min(traits.maxBindingBytes, device.limits.maxBufferSize);
  const [largest] = tensorBytes(settings);
  if (largest && largest.bytes > most) {
    throw new SettingError(
      `${largest.name} would take ${formatBytes(largest.bytes)}, but this device binds at most ${formatBytes(most)} at once. Use fewer or shorter sequences, fewer heads, or f16.`,
    );
  }
  const pairs = settings.sequences.reduce((sum, { nQueries, nKeys }) => sum + nQueries * nKeys, 0);
  if (2 * pairs * settings.nHeads * settings.headDim > MAX_MACS[traits.deviceClass]) {
    const where = traits.deviceClass === 'software' ? ' on an adapter that runs shaders on the CPU' : '';
    throw new SettingError(
      `This would take minutes${where}. Use fewer or shorter sequences, or fewer heads.`,
    );
  }
}

/**
 * Create an implementation, compile its kernels and run it once.
 *
 * @throws Error with the device's error, which would otherwise appear in the console only
 */
async function prepare<T extends Implementation>(
  create: (args: CreateArgs) => T,
  args: Omit<CreateArgs, 'tensors'>,
): Promise<T> {
  const { device } = args;
  const tensors = new Tensors(device);
  let implementation: T | undefined;
  try {
    const error = await captureErrors(device, async () => {
      implementation = create({ ...args, tensors });
      implementation.call();
      await idle(device);
    });
    if (error instanceof GPUOutOfMemoryError) {
      throw new SettingError('The GPU has not enough memory. Use fewer or shorter sequences, or f16.');
    }
    if (error) throw new Error(error.message);
    return implementation!;
  } catch (error) {
    implementation?.runtime.destroy();
    tensors.destroy();
    throw error;
  }
}

/** A sample repeats the call until it takes this long, so that waiting for the queue does not show. */
const MIN_SAMPLE_MS = 20;
const MIN_ROUNDS = 3;
const MAX_ROUNDS = 9;
/** No round starts after this time, once there are `MIN_ROUNDS`. */
const TIMING_MS = 800;

/** Time the implementations in interleaved rounds, so that what slows down the machine for a while slows down all of them. */
async function timeAll(device: GPUDevice, implementations: readonly Implementation[]): Promise<Timing[]> {
  const repetitions: number[] = [];
  for (const { call } of implementations) {
    repetitions.push(await chooseRepetitions(device, call, MIN_SAMPLE_MS));
  }
  const samples: number[][] = implementations.map(() => []);
  const start = performance.now();
  for (let round = 0; round < MAX_ROUNDS; round++) {
    if (round >= MIN_ROUNDS && performance.now() - start > TIMING_MS) break;
    for (const [i, { call }] of implementations.entries()) {
      samples[i]!.push(await timeCalls(device, call, repetitions[i]!));
    }
  }
  return samples.map((ms) => ({ samples: ms, medianMs: summarize(ms).median }));
}
