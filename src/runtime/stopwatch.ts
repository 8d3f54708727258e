import { encode, type BoundDispatch } from './boundDispatch.js';
import { Profiler } from './profiler.js';
import type { Runtime } from './runtime.js';

/** Dispatches to be timed, so many times in a row. */
export interface TimedRun {
  readonly dispatches: readonly BoundDispatch[];
  readonly repetitions: number;
}

/**
 * Returns the milliseconds of each run, all repetitions together. By timestamps, all runs are submitted at once, since the
 * clocks of a GPU fall within milliseconds of idling; else each is submitted when the queue has done the one before.
 */
export async function timeRuns(
  runtime: Runtime,
  caller: string,
  runs: readonly TimedRun[],
): Promise<number[]> {
  runtime.assertAlive(caller);
  const { device, traits } = runtime;
  // The timestamps of a driver that runs on the CPU need not be those of the work.
  const useTimestamps = traits.deviceClass === 'gpu' && device.features.has('timestamp-query');
  const times = runtime.inNameOf(caller, () => (useTimestamps ? timeOnDevice : timeOnHost)(device, runs));
  return runtime.untilEnded(caller, times);
}

async function timeOnDevice(device: GPUDevice, runs: readonly TimedRun[]): Promise<number[]> {
  const profiler = new Profiler(device);
  for (const run of runs) submit(device, run, (encoder) => profiler.beginPass(encoder, 'timed run'));
  const times = await profiler.take();
  return times.map(({ microseconds }) => microseconds / 1000);
}

async function timeOnHost(device: GPUDevice, runs: readonly TimedRun[]): Promise<number[]> {
  const times: number[] = [];
  for (const run of runs) {
    const start = performance.now();
    submit(device, run, (encoder) => encoder.beginComputePass());
    await device.queue.onSubmittedWorkDone();
    times.push(performance.now() - start);
  }
  return times;
}

function submit(
  device: GPUDevice,
  { dispatches, repetitions }: TimedRun,
  begin: (encoder: GPUCommandEncoder) => GPUComputePassEncoder,
): void {
  const encoder = device.createCommandEncoder({ label: 'timed run' });
  const pass = begin(encoder);
  for (let i = 0; i < repetitions; i++) for (const dispatch of dispatches) encode(dispatch, pass);
  pass.end();
  device.queue.submit([encoder.finish()]);
}
