import type { GpuCase, Lane } from './gpuCase.js';
import type { GpuDevices } from './gpuDevices.js';

/** Run one case; it fails by throwing, or by an error on a device that no error scope caught. */
export async function runCase(gpuCase: GpuCase, devices: GpuDevices, lane: Lane): Promise<void> {
  let thrown: Error | undefined;
  try {
    await gpuCase.run({
      lane,
      features: devices.features,
      device: (kind) => devices.get(kind),
      ownDevice: (kind) => devices.make(kind),
    });
  } catch (error) {
    thrown = error instanceof Error ? error : new Error(String(error));
  }
  const messages = [...(thrown ? [thrown.message] : []), ...(await devices.takeErrors())];
  if (messages.length === 0) return;
  const failure = new Error(messages.join('\n'));
  if (thrown?.stack) failure.stack = thrown.stack;
  throw failure;
}
