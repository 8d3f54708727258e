import type { Runtime } from '../src/index.js';
import { chooseRepetitions, idle, timeCalls } from '../tools/timing.js';
import { summarize } from '../tools/statistics.js';
import type { Inputs } from './inputs.js';
import type { Settings } from './settings.js';
import type { Tensors } from './transfer.js';

/** One way to compute attention, with everything that it holds on the GPU. */
export interface Contender {
  readonly runtime: Runtime;
  /** All that it is given, outputs included. */
  readonly tensors: Tensors;
  /** Submits one whole attention. */
  readonly call: () => void;
}

export interface ContenderArgs {
  readonly device: GPUDevice;
  /** Where to make its tensors. */
  readonly tensors: Tensors;
  readonly settings: Settings;
  readonly inputs: Inputs;
}

export interface Timing {
  /** Milliseconds of each round's calls, on average. */
  readonly samples: readonly number[];
  readonly medianMs: number;
}

/** Calls shorter than this are timed several in a row, or waiting for the queue would show. */
const SHORTEST_SAMPLE_MS = 20;
const MOST_ROUNDS = 9;
const FEWEST_ROUNDS = 3;
/** Rounds beyond the fewest are run while they fit in this time. */
const TIMING_MS = 800;

/** Times the contenders in turn, so that what slows down the machine for a while slows down all of them. */
export async function timeContenders(device: GPUDevice, contenders: readonly Contender[]): Promise<Timing[]> {
  const repetitions: number[] = [];
  for (const { call } of contenders) {
    repetitions.push(await chooseRepetitions(device, call, SHORTEST_SAMPLE_MS));
  }
  const samples: number[][] = contenders.map(() => []);
  const start = performance.now();
  for (let round = 0; round < MOST_ROUNDS; round++) {
    if (round >= FEWEST_ROUNDS && performance.now() - start > TIMING_MS) break;
    for (const [i, { call }] of contenders.entries()) {
      samples[i]!.push(await timeCalls(device, call, repetitions[i]!));
    }
  }
  return samples.map((ms) => ({ samples: ms, medianMs: summarize(ms).median }));
}

/** Compiles the kernels and runs them once. */
export async function warmUp(device: GPUDevice, { call }: Contender): Promise<void> {
  call();
  await idle(device);
}

export function destroyContender({ runtime, tensors }: Contender): void {
  runtime.destroy();
  tensors.destroy();
}
