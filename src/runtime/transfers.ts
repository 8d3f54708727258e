import { fail } from '../core/errors.js';
import { BUFFER_USAGE, MAP_MODE, noteDevice } from '../core/gpuBuffers.js';
import { closeScope } from './faults.js';

/** Returns storage buffers of these sizes in bytes, or undefined if the device has no memory for all of them. */
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

/** Bytes on the host, and where they belong in a buffer. Offsets and lengths are multiples of 4. */
export interface Transfer {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Copies from buffers to the host's bytes, after all work that was submitted before the call. */
export async function readBytes(
  caller: string,
  device: GPUDevice,
  transfers: readonly Transfer[],
): Promise<void> {
  if (transfers.length === 0) return;
  const batches = batchesOf(transfers, device.limits.maxBufferSize);
  // Everything is submitted before the first await: what the caller submits next comes later.
  device.pushErrorScope('validation');
  device.pushErrorScope('out-of-memory');
  const usage = BUFFER_USAGE.COPY_DST | BUFFER_USAGE.MAP_READ;
  const buffers = batches.map(({ size }) => device.createBuffer({ label: caller, size, usage }));
  const outOfMemory = closeScope(device);
  const encoder = device.createCommandEncoder({ label: caller });
  batches.forEach(({ pieces }, i) => {
    for (const { transfer, at } of pieces) {
      encoder.copyBufferToBuffer(transfer.buffer, transfer.offset, buffers[i]!, at, transfer.bytes.length);
    }
  });
  device.queue.submit([encoder.finish()]);
  const mappings = Promise.allSettled(buffers.map((buffer) => buffer.mapAsync(MAP_MODE.READ)));
  const invalid = closeScope(device);

  try {
    if (await outOfMemory) {
      const size = batches.reduce((sum, batch) => sum + batch.size, 0);
      fail(
        'limit',
        caller,
        `the device has no memory for ${size} bytes on their way to the host. Read less at a time.`,
      );
    }
    const error = await invalid;
    if (error) fail('buffer', caller, `the device refused to read: ${error.message}`);
    for (const mapping of await mappings) {
      if (mapping.status === 'fulfilled') continue;
      const { message } = mapping.reason as Error;
      fail('device', caller, `what was read could not be mapped: ${message}`);
    }
    batches.forEach(({ pieces }, i) => {
      const mapped = new Uint8Array(buffers[i]!.getMappedRange());
      for (const { transfer, at } of pieces)
        transfer.bytes.set(mapped.subarray(at, at + transfer.bytes.length));
    });
  } finally {
    for (const buffer of buffers) buffer.destroy();
  }
}

/**
 * Copies the host's bytes to buffers, after all work submitted before the call and before all that is submitted later.
 */
export function writeBytes(device: GPUDevice, transfers: readonly Transfer[]): void {
  for (const { buffer, offset, bytes } of transfers) {
    // Deno 2.9 ends with a panic where an empty array is written.
    if (bytes.length === 0) continue;
    device.queue.writeBuffer(buffer, offset, bytes as Uint8Array<ArrayBuffer>);
  }
}

/** Transfers that share a staging buffer. */
interface Batch {
  size: number;
  readonly pieces: { readonly transfer: Transfer; readonly at: number }[];
}

function batchesOf(transfers: readonly Transfer[], maxBytes: number): readonly Batch[] {
  const batches: Batch[] = [];
  for (const transfer of transfers) {
    const { length } = transfer.bytes;
    let batch = batches.at(-1);
    if (!batch || batch.size + length > maxBytes) {
      batch = { size: 0, pieces: [] };
      batches.push(batch);
    }
    batch.pieces.push({ transfer, at: batch.size });
    batch.size += length;
  }
  return batches;
}
