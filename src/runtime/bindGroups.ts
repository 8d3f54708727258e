import { bufferId } from '../core/bufferIds.js';

/** A range of a buffer, in bytes. */
export interface BufferRange {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly size: number;
}

/** Bind groups by what they bind, the most recent `CAPACITY` of them: making one costs more than recording a dispatch. */
export class BindGroups {
  readonly #device: GPUDevice;
  readonly #groups = new Map<string, GPUBindGroup>();

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  get(layout: GPUBindGroupLayout, name: string, ranges: ReadonlyMap<number, BufferRange>): GPUBindGroup {
    const key = this.keyOf(name, ranges);
    const cached = this.#groups.get(key);
    const group = cached ?? this.#create(layout, name, ranges);
    // A Map keeps the order of insertion: what was used last goes to the end, what is dropped is at the front.
    if (cached) this.#groups.delete(key);
    this.#groups.set(key, group);
    if (this.#groups.size > CAPACITY) this.#groups.delete(this.#groups.keys().next().value!);
    return group;
  }

  /** Tells what would be bound from anything else. */
  keyOf(name: string, ranges: ReadonlyMap<number, BufferRange>): string {
    let key = name;
    for (const { buffer, offset, size } of ranges.values()) key += ` ${bufferId(buffer)}:${offset}:${size}`;
    return key;
  }

  clear(): void {
    this.#groups.clear();
  }

  #create(layout: GPUBindGroupLayout, label: string, ranges: ReadonlyMap<number, BufferRange>): GPUBindGroup {
    const entries = Array.from(ranges, ([binding, resource]) => ({ binding, resource }));
    return this.#device.createBindGroup({ label, layout, entries });
  }
}

// Several for each layer of the deepest models.
const CAPACITY = 2048;
