import type { Dispatch, HostData } from '../core/dispatch.js';
import { elementCount, type Tensor } from '../core/tensor.js';
import { windowOf } from '../core/tensorWindow.js';
import type { BufferRange } from './bindGroups.js';
import type { ScratchBuffers } from './scratch.js';

/** Where what a dispatch names is in memory. */
export interface Places {
  readonly params: BufferRange;
  readonly arrays: ReadonlyMap<HostData, BufferRange>;
  readonly scratch: ScratchBuffers;
  /** What to bind instead of some tensors. */
  readonly instead?: ReadonlyMap<Tensor, Tensor>;
}

/** The range of each binding of a dispatch, by its number. */
export function bindingRanges({ kernel, bindings }: Dispatch, places: Places): Map<number, BufferRange> {
  const { params, arrays, scratch, instead } = places;
  return new Map(
    kernel.bindings.map(({ name, binding, access }): [number, BufferRange] => {
      if (access === 'uniform') return [binding, params];
      const bound = bindings[name];
      if (!bound || isEmpty(bound)) return [binding, scratch.get(`unused ${name}`, 16)];
      if (ArrayBuffer.isView(bound)) return [binding, arrays.get(bound)!];
      if ('scratch' in bound) return [binding, scratch.get(bound.scratch, bound.bytes)];
      const tensor = instead?.get(bound) ?? bound;
      const { offset, size } = windowOf(tensor);
      return [binding, { buffer: tensor.buffer, offset, size }];
    }),
  );
}

/** The arrays of some dispatches, each once, with names of their own: by who first binds it, and how many do. */
export function hostArrays(dispatches: readonly Dispatch[]): Map<HostData, string> {
  const arrays = new Map<HostData, string>();
  const counts = new Map<string, number>();
  for (const { kernel, bindings } of dispatches) {
    for (const [name, bound] of Object.entries(bindings)) {
      if (!ArrayBuffer.isView(bound) || arrays.has(bound)) continue;
      const binder = `${kernel.name} ${name}`;
      const count = (counts.get(binder) ?? 0) + 1;
      counts.set(binder, count);
      arrays.set(bound, `${binder} ${count}`);
    }
  }
  return arrays;
}

export function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** WebGPU binds no empty range. */
function isEmpty(bound: NonNullable<Dispatch['bindings'][string]>): boolean {
  return 'shape' in bound && elementCount(bound.shape) === 0;
}
