import type { Tensor } from '../../src/core/tensor.js';
import { downloadBuffer, placesOf } from '../../tools/deviceTensor.js';

/** NaN in f32, and no number that any sequence could begin at or any page could have. */
const CANARY = 0x7fc0dead;

/** Words before the first element and behind the last one. */
const MARGIN = 16;

/**
 * A tensor of f32 or of 32-bit integers with canaries before it, behind it, and between its rows. A kernel that reads one
 * computes NaN or nonsense; `downloadGuarded` finds those that were overwritten.
 */
export function uploadGuarded(
  device: GPUDevice,
  dtype: 'f32' | 'i32' | 'u32',
  shape: readonly number[],
  values: Float32Array | Int32Array | 'canaries',
): Tensor {
  const strides = shape.map(() => 1);
  for (let axis = shape.length - 2; axis >= 0; axis--)
    strides[axis] = strides[axis + 1]! * shape[axis + 1]! + GAP;
  const size = 4 * (2 * MARGIN + strides[0]! * Math.max(1, shape[0]!));
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const tensor = { buffer: device.createBuffer({ size, usage }), dtype, shape, strides, offset: MARGIN };
  const words = new Uint32Array(size / 4).fill(CANARY);
  if (values !== 'canaries') {
    const stored = new Uint32Array(values.buffer, values.byteOffset, values.length);
    placesOf(tensor).forEach((at, i) => (words[at] = stored[i]!));
  }
  device.queue.writeBuffer(tensor.buffer, 0, words);
  return tensor;
}

/** Words between rows: rows still begin at multiples of 16 bytes. */
const GAP = 4;

export interface Guarded {
  readonly values: Float32Array;
  /** Whether an element still holds the canary, as it was not written. */
  readonly isCanary: (index: number) => boolean;
  /** Canaries beside the elements that have changed. */
  readonly nBroken: number;
}

export async function downloadGuarded(device: GPUDevice, tensor: Tensor): Promise<Guarded> {
  const words = new Uint32Array(await downloadBuffer(device, tensor.buffer));
  const places = placesOf(tensor);
  const bits = Uint32Array.from(places, (at) => words[at]!);
  const owned = new Set(places);
  return {
    values: new Float32Array(bits.buffer),
    isCanary: (index) => bits[index] === CANARY,
    nBroken: words.filter((word, at) => word !== CANARY && !owned.has(at)).length,
  };
}
