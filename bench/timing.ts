/** Waits for a device's queue, and fails instead of waiting for a device that is gone. */
export async function idle(device: GPUDevice): Promise<void> {
  const lost = device.lost.then(({ reason, message }) => {
    throw new Error(`The device was lost (${reason}): ${message || 'no reason was given'}`);
  });
  await Promise.race([device.queue.onSubmittedWorkDone(), lost]);
}

/** Milliseconds of a call, as the mean of some in a row, from the first submission until the queue is idle. */
export async function timeCalls(device: GPUDevice, call: () => void, repetitions: number): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < repetitions; i++) call();
  await idle(device);
  return (performance.now() - start) / repetitions;
}

/** So many calls that waiting for the queue, which costs up to a millisecond, does not show. */
export async function chooseRepetitions(
  device: GPUDevice,
  call: () => void,
  minSampleMs: number,
): Promise<number> {
  let repetitions = 1;
  for (;;) {
    const sampleMs = (await timeCalls(device, call, repetitions)) * repetitions;
    if (sampleMs >= minSampleMs || repetitions >= MOST_REPETITIONS) return repetitions;
    const wanted = Math.ceil((1.2 * repetitions * minSampleMs) / Math.max(sampleMs, 0.1));
    repetitions = Math.min(wanted, 10 * repetitions, MOST_REPETITIONS);
  }
}

const MOST_REPETITIONS = 1000;

/** What an operation that may fail on the device brought up: the first error, out of memory before others. */
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
  // What the device says explains what was thrown.
  if (outcome && !deviceError) throw outcome.error;
  return deviceError ?? undefined;
}
