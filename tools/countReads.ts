/** What came back from a GPU to the CPU. */
export interface Reads {
  /** Buffers that were mapped for reading. */
  readonly buffers: number;
  /** Bytes of their ranges that were looked at. */
  readonly bytes: number;
}

/** Counts what a device's buffers hand over to the CPU while `work` runs, whichever library of the program asks for it. */
export async function countReads(device: GPUDevice, work: () => Promise<void> | void): Promise<Reads> {
  const reads = { buffers: 0, bytes: 0 };
  // All buffers have one prototype, which need not be a global.
  const probe = device.createBuffer({ size: 4, usage: GPUBufferUsage.COPY_DST });
  const owner = Object.getPrototypeOf(probe) as GPUBuffer;
  probe.destroy();
  const { mapAsync, getMappedRange } = owner;
  const isRead = (buffer: GPUBuffer) => (buffer.usage & GPUBufferUsage.MAP_READ) !== 0;
  owner.mapAsync = function count(...args) {
    if (isRead(this)) reads.buffers++;
    return mapAsync.apply(this, args);
  };
  owner.getMappedRange = function count(...args) {
    const range = getMappedRange.apply(this, args);
    if (isRead(this)) reads.bytes += range.byteLength;
    return range;
  };
  try {
    await work();
    // Some are told only when the GPU is done.
    await device.queue.onSubmittedWorkDone();
  } finally {
    Object.assign(owner, { mapAsync, getMappedRange });
  }
  return reads;
}
