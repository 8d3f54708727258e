/**
 * Waits until a device's queue is empty.
 *
 * @throws Error if the device is lost, which would otherwise be waited for forever
 */
export async function idle(device: GPUDevice): Promise<void> {
  const lost = device.lost.then(({ reason, message }) => {
    throw new Error(`The device was lost (${reason}): ${message || 'no reason was given'}`);
  });
  await Promise.race([device.queue.onSubmittedWorkDone(), lost]);
}

/** Submits work, at once or when its promise resolves. */
export type TimedCall = () => void | Promise<unknown>;

/** Mean milliseconds per call of `repetitions` calls in a row, from the first submission until the queue is empty. */
export async function timeCalls(device: GPUDevice, call: TimedCall, repetitions: number): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < repetitions; i++) {
    const submitted = call();
    if (submitted) await submitted;
  }
  await idle(device);
  return (performance.now() - start) / repetitions;
}

/** A GPU lowers its clocks within milliseconds of idling; this much work brings them up again. */
export const WARM_MS = 60;

/** Keeps a device busy with calls for at least `ms`, so that what is measured next finds its clocks up. */
export async function warmUpClocks(device: GPUDevice, call: TimedCall, ms: number): Promise<void> {
  const start = performance.now();
  for (let n = 1; performance.now() - start < ms; n = Math.min(2 * n, MOST_WARMING)) {
    await timeCalls(device, call, n);
  }
}

/** Calls between two looks at the clock. */
const MOST_WARMING = 64;

/**
 * The number of calls that take at least `minSampleMs` together. Waiting for the queue costs up to a millisecond, which
 * in a long enough sample does not show.
 */
export async function chooseRepetitions(
  device: GPUDevice,
  call: TimedCall,
  minSampleMs: number,
): Promise<number> {
  let repetitions = 1;
  for (;;) {
    const sampleMs = (await timeCalls(device, call, repetitions)) * repetitions;
    if (sampleMs >= minSampleMs || repetitions >= MAX_REPETITIONS) return repetitions;
    const wanted = Math.ceil((1.2 * repetitions * minSampleMs) / Math.max(sampleMs, 0.1));
    repetitions = Math.min(wanted, 10 * repetitions, MAX_REPETITIONS);
  }
}

const MAX_REPETITIONS = 1000;

/**
 * Runs an operation and returns the device's first error, out of memory before others; undefined if there was none.
 *
 * @throws what the operation throws, if the device reports no error
 */
export async function captureErrors(
  device: GPUDevice,
  operation: () => Promise<void>,
): Promise<GPUError | undefined> {
  const filters = ['internal', 'validation', 'out-of-memory'] as const;
  for (const filter of filters) device.pushErrorScope(filter);
  const outcome = await operation().then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  // Scopes close in the reverse order of their opening.
  const errors = await Promise.all(filters.map(() => device.popErrorScope()));
  const deviceError = errors.find((error) => error !== null);
  // An error of the device explains the exception that followed from it.
  if (outcome && !deviceError) throw outcome.error;
  return deviceError ?? undefined;
}
