import type { Dispatch, Scratch } from '../../src/core/dispatch.js';
import { decode, encode, type FloatDType } from '../../src/core/dtype.js';
import { elementCount, type Tensor } from '../../src/core/tensor.js';
import type { Kernel, Spec } from '../../src/wgsl/kernel.js';
import { link } from '../../src/wgsl/link.js';
import { packParams } from '../../src/runtime/uploads.js';
import { workgroupBytes } from '../wgslOnCpu/compile.js';
import { run } from '../wgslOnCpu/run.js';

/**
 * Runs a dispatch on the CPU.
 *
 * @param edit changes the WGSL first
 * @returns a sentence for every word that invocations race for
 * @throws RangeError where memory is accessed that is not there
 */
export function interpret(
  { kernel, spec, grid, params, bindings }: Dispatch,
  buffers: HostBuffers,
  edit = (code: string) => code,
): readonly string[] {
  return run({
    code: edit(link(kernel, spec)),
    entryPoint: kernel.name,
    grid: [grid[0], grid[1], 1],
    bytesOf: ({ name, space }) => {
      if (space === 'uniform' && name === 'params') return packParams(kernel.params, params).buffer;
      const bound = bindings[name];
      if (!bound) return new ArrayBuffer(16);
      return ArrayBuffer.isView(bound) ? (bound.slice().buffer as ArrayBuffer) : buffers.contentsOf(bound);
    },
  });
}

/** Workgroup memory that a variant declares, as WebGPU counts it. */
export function declaredWorkgroupBytes(kernel: Kernel, spec: Spec): number {
  return workgroupBytes(link(kernel, spec));
}

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
    const { buffer } =
      tensor.dtype === 'u32' ? Uint32Array.from(numbers) : encode(tensor.dtype as FloatDType, numbers);
    new Uint8Array(this.contentsOf(tensor)).set(new Uint8Array(buffer));
  }

  read(tensor: Tensor): Float32Array {
    const Stored = tensor.dtype === 'f32' ? Float32Array : Uint16Array;
    const stored = new Stored(this.contentsOf(tensor), 0, elementCount(tensor.shape));
    return decode(tensor.dtype as FloatDType, stored);
  }
}
