import { captureErrors } from '../tools/timing.js';
import { formatBytes } from '../tools/format.js';
import { checkSamples, type Verdict } from './check.js';
import {
  destroyContender,
  timeContenders,
  warmUp,
  type Contender,
  type ContenderArgs,
  type Timing,
} from './contender.js';
import type { Gpu } from './gpu.js';
import { createInputs, tensorBytes, type Inputs } from './inputs.js';
import { createNaive, leftOutOfNaive, whyNotNaive } from './naive.js';
import { createPageflash } from './pageflash.js';
import { SettingError, type Settings } from './settings.js';
import { download, Tensors } from './transfer.js';

export interface RunResult {
  readonly settings: Settings;
  readonly inputs: Inputs;
  readonly verdict: Verdict;
  readonly pageflash: Measured;
  /** Undefined where it cannot run. */
  readonly naive: Measured | undefined;
  /** What is to be said about naive attention, if anything. */
  readonly naiveNote: string | undefined;
}

export interface Measured {
  readonly timing: Timing;
  /** Beyond inputs and outputs. */
  readonly memoryBytes: number;
}

/** Multiply-adds of a call that a visitor would wait for. */
const MOST_MACS = { software: 5e9, gpu: 2e13 } as const;

/**
 * Runs attention with these settings once to check it and then some times to time it. Nothing stays on the GPU.
 *
 * @throws SettingError where the device has not the room or the strength
 * @throws PageflashError where the library refuses the settings
 */
export async function run(
  gpu: Gpu,
  settings: Settings,
  onStage: (stage: string) => void,
): Promise<RunResult> {
  const { device, traits } = gpu;
  checkFits(gpu, settings);
  await enter(onStage, 'Making inputs …');
  const inputs = createInputs(settings);
  const contenders: Contender[] = [];
  try {
    await enter(onStage, 'Compiling and running …');
    const pageflash = await start(createPageflash, { device, settings, inputs });
    contenders.push(pageflash);
    const out = await download(device, pageflash.out);
    const lse = await download(device, pageflash.lse);

    await enter(onStage, 'Comparing with the CPU reference …');
    const verdict = checkSamples(settings, inputs, { out, lse });

    let naiveNote = whyNotNaive(settings, traits);
    if (!naiveNote) {
      await enter(onStage, 'Preparing naive attention …');
      try {
        contenders.push(await start(createNaive, { device, settings, inputs }));
        naiveNote = leftOutOfNaive(settings);
      } catch (error) {
        naiveNote = `Naive attention cannot run: ${(error as Error).message}`;
      }
    }

    await enter(onStage, 'Timing …');
    const timings = await timeContenders(device, contenders);
    const [measured, naive] = contenders.map(({ runtime }, i): Measured => ({
      timing: timings[i]!,
      memoryBytes: runtime.memoryBytes,
    }));
    return { settings, inputs, verdict, pageflash: measured!, naive, naiveNote };
  } finally {
    contenders.forEach(destroyContender);
  }
}

/** Shows what happens next, and lets the browser draw it. */
async function enter(onStage: (stage: string) => void, stage: string): Promise<void> {
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
  if (2 * pairs * settings.nHeads * settings.headDim > MOST_MACS[traits.deviceClass]) {
    const where = traits.deviceClass === 'software' ? ' on an adapter that runs shaders on the CPU' : '';
    throw new SettingError(
      `This would take minutes${where}. Use fewer or shorter sequences, or fewer heads.`,
    );
  }
}

/**
 * Makes a contender and runs it once.
 *
 * @throws Error with what the device objects to, which it would otherwise tell the console only
 */
async function start<T extends Contender>(
  create: (args: ContenderArgs) => T,
  args: Omit<ContenderArgs, 'tensors'>,
): Promise<T> {
  const { device } = args;
  const tensors = new Tensors(device);
  let contender: T | undefined;
  try {
    const error = await captureErrors(device, async () => {
      contender = create({ ...args, tensors });
      await warmUp(device, contender);
    });
    if (error instanceof GPUOutOfMemoryError) {
      throw new SettingError('The GPU has not enough memory. Use fewer or shorter sequences, or f16.');
    }
    if (error) throw new Error(error.message);
    return contender!;
  } catch (error) {
    contender?.runtime.destroy();
    tensors.destroy();
    throw error;
  }
}
