/** What came back from a GPU to the CPU. */
export interface Reads {
  /** Buffers that were mapped for reading, and canvases that were read. */
  readonly buffers: number;
  /** Bytes of what was looked at. */
  readonly bytes: number;
}

/** Counts what comes back from a device to the CPU while `work` runs, whichever library of the program asks for it. */
export async function countReads(device: GPUDevice, work: () => Promise<void> | void): Promise<Reads> {
  const reads = { buffers: 0, bytes: 0 };
  const restore = [...countBuffers(device, reads), ...countCanvases(reads)];
  try {
    await work();
    // Some are told only when the GPU is done.
    await device.queue.onSubmittedWorkDone();
  } finally {
    for (const undo of restore) undo();
  }
  return reads;
}

type Counts = { -readonly [Name in keyof Reads]: Reads[Name] };

function countBuffers(device: GPUDevice, reads: Counts): (() => void)[] {
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
  return [() => Object.assign(owner, { mapAsync, getMappedRange })];
}

/** A buffer can be drawn on a canvas, which can be read without waiting. TensorFlow.js does so. */
function countCanvases(reads: Counts): (() => void)[] {
  const kinds = [globalThis.CanvasRenderingContext2D, globalThis.OffscreenCanvasRenderingContext2D];
  return kinds.flatMap((kind) => {
    if (!kind) return [];
    const owner: CanvasImageData = kind.prototype;
    const { getImageData } = owner;
    owner.getImageData = function count(...args) {
      const image = getImageData.apply(this, args);
      reads.buffers++;
      reads.bytes += image.data.byteLength;
      return image;
    };
    return [() => Object.assign(owner, { getImageData })];
  });
}
