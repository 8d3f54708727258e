import { noteDevice } from '../core/bufferOrigins.js';
import { BUFFER_USAGE } from '../core/gpuFlags.js';
import { closeScope } from './errorScope.js';

/** Storage buffers of the sizes given, or undefined where the device has no memory for all of them. */
export async function createBuffers(
  device: GPUDevice,
  label: string,
  sizes: readonly number[],
): Promise<GPUBuffer[] | undefined> {
  const usage = BUFFER_USAGE.STORAGE | BUFFER_USAGE.COPY_SRC | BUFFER_USAGE.COPY_DST;
  device.pushErrorScope('out-of-memory');
  const buffers = sizes.map((size) => device.createBuffer({ label, size, usage }));
  for (const buffer of buffers) noteDevice(buffer, device);
  if (!(await closeScope(device))) return buffers;
  for (const buffer of buffers) buffer.destroy();
  return undefined;
}
