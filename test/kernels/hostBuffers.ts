import type { Scratch } from '../../src/core/dispatch.js';
import { decode, encode, type FloatDType } from '../../src/core/dtype.js';
import { elementCount, type Tensor } from '../../src/core/tensor.js';

/** What GPU buffers hold, where there is no GPU: zeros at first. Tensors begin at the start of theirs, contiguous. */
export class HostBuffers {
  readonly #contents = new Map<GPUBuffer | string, ArrayBuffer>();

  contentsOf(bound: Tensor | Scratch): ArrayBuffer {
    const isScratch = 'scratch' in bound;
    const name = isScratch ? bound.scratch : bound.buffer;
    let contents = this.#contents.get(name);
    if (!contents) {
      contents = new ArrayBuffer(isScratch ? bound.bytes : bound.buffer.size);
      this.#contents.set(name, contents);
    }
    return contents;
  }

  write(tensor: Tensor, numbers: ArrayLike<number>): void {
    const { buffer } = encode(tensor.dtype as FloatDType, numbers);
    new Uint8Array(this.contentsOf(tensor)).set(new Uint8Array(buffer));
  }

  read(tensor: Tensor): Float32Array {
    const Stored = tensor.dtype === 'f32' ? Float32Array : Uint16Array;
    const stored = new Stored(this.contentsOf(tensor), 0, elementCount(tensor.shape));
    return decode(tensor.dtype as FloatDType, stored);
  }
}
