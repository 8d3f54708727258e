import { bytesPerElement, type FloatDType } from '../src/core/dtype.js';
import { decode } from '../src/core/halves.js';
import { elementCount, wholeWords, type Tensor } from '../src/core/tensor.js';
import type { Stored } from './inputs.js';

/** Makes tensors on the GPU and frees them all together. */
export class Tensors {
  readonly #device: GPUDevice;
  readonly #buffers: GPUBuffer[] = [];

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  create(dtype: FloatDType, shape: readonly number[], data?: Stored): Tensor {
    const buffer = this.#device.createBuffer({
      size: wholeWords(elementCount(shape) * bytesPerElement(dtype)),
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC,
      mappedAtCreation: data !== undefined,
    });
    this.#buffers.push(buffer);
    if (data) {
      const source = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      new Uint8Array(buffer.getMappedRange()).set(source);
      buffer.unmap();
    }
    return { buffer, dtype, shape };
  }

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
    this.#buffers.length = 0;
  }
}

/** The elements of a contiguous tensor of reals. */
export async function download(device: GPUDevice, tensor: Tensor): Promise<Float32Array<ArrayBuffer>> {
  const { buffer, shape } = tensor;
  const dtype = tensor.dtype as FloatDType;
  const { COPY_DST, MAP_READ } = GPUBufferUsage;
  const readback = device.createBuffer({ size: buffer.size, usage: COPY_DST | MAP_READ });
  try {
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, 0, readback, 0, buffer.size);
    device.queue.submit([encoder.finish()]);
    await readback.mapAsync(GPUMapMode.READ);
    const bytes = readback.getMappedRange().slice(0, elementCount(shape) * bytesPerElement(dtype));
    return decode(dtype, dtype === 'f32' ? new Float32Array(bytes) : new Uint16Array(bytes));
  } finally {
    readback.destroy();
  }
}
