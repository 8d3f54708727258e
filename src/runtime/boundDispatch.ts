import type { Dispatch, HostData } from '../core/dispatch.js';
import { bufferId } from '../core/gpuBuffers.js';
import { elementCount, windowOf, type Tensor } from '../core/tensor.js';
import type { BufferRange, ScratchBuffers } from './memory.js';
import type { Pipelines } from './pipelines.js';

/** A dispatch as WebGPU takes it. */
export interface BoundDispatch {
  /** The kernel's name. */
  readonly kernel: string;
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly grid: Dispatch['grid'];
}

/** Records a dispatch into a pass. */
export function encode({ pipeline, group, grid }: BoundDispatch, pass: GPUComputePassEncoder): void {
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(...grid);
}

/** Where in GPU memory the data of a dispatch are, but for its tensors, which say it themselves. */
export interface DataLocations {
  readonly params: BufferRange;
  readonly arrays: ReadonlyMap<HostData, BufferRange>;
  readonly scratch: ScratchBuffers;
  /** Tensors to bind instead of those of the dispatch. */
  readonly instead?: ReadonlyMap<Tensor, Tensor>;
}

/**
 * Finds or makes the bind groups of dispatches. Making one costs more than recording a dispatch, so they are cached
 * (LRU).
 */
export class BindGroups {
  readonly #device: GPUDevice;
  readonly #pipelines: Pipelines;
  readonly #groups = new Map<string, GPUBindGroup>();

  constructor(device: GPUDevice, pipelines: Pipelines) {
    this.#device = device;
    this.#pipelines = pipelines;
  }

  get(dispatch: Dispatch, locations: DataLocations): GPUBindGroup {
    const ranges = bindingRanges(dispatch, locations);
    const key = keyOf(dispatch, ranges);
    const cached = this.#groups.get(key);
    const group = cached ?? this.#create(dispatch, ranges);
    // A Map keeps the order of insertion: the most recently used is last, the next to be dropped is first.
    if (cached) this.#groups.delete(key);
    this.#groups.set(key, group);
    if (this.#groups.size > CAPACITY) this.#groups.delete(this.#groups.keys().next().value!);
    return group;
  }

  /** A key that is equal only for dispatches of the same kernel that bind the same ranges. */
  keyOf(dispatch: Dispatch, locations: DataLocations): string {
    return keyOf(dispatch, bindingRanges(dispatch, locations));
  }

  clear(): void {
    this.#groups.clear();
  }

  #create({ kernel }: Dispatch, ranges: BindingRanges): GPUBindGroup {
    return this.#device.createBindGroup({
      label: kernel.name,
      layout: this.#pipelines.bindGroupLayout(kernel),
      entries: ranges.map(([binding, resource]) => ({ binding, resource })),
    });
  }
}

// Several for each layer of the deepest models.
const CAPACITY = 2048;

/** The range of each binding, by its number. */
type BindingRanges = readonly (readonly [binding: number, range: BufferRange])[];

function bindingRanges({ kernel, bindings }: Dispatch, locations: DataLocations): BindingRanges {
  const { params, arrays, scratch, instead } = locations;
  const rangeOf = (name: string): BufferRange => {
    const bound = bindings[name];
    // WebGPU binds no empty range.
    if (!bound || isEmpty(bound)) return scratch.get(`unused ${name}`, 16);
    if (ArrayBuffer.isView(bound)) return arrays.get(bound)!;
    if ('scratch' in bound) return scratch.get(bound.scratch, bound.bytes);
    const tensor = instead?.get(bound) ?? bound;
    const { offset, size } = windowOf(tensor);
    return { buffer: tensor.buffer, offset, size };
  };
  return kernel.bindings.map(({ name, binding }) => [binding, name === 'params' ? params : rangeOf(name)]);
}

function isEmpty(bound: NonNullable<Dispatch['bindings'][string]>): boolean {
  return 'shape' in bound && elementCount(bound.shape) === 0;
}

function keyOf({ kernel }: Dispatch, ranges: BindingRanges): string {
  let key = kernel.name;
  for (const [binding, { buffer, offset, size }] of ranges)
    key += ` ${binding}@${bufferId(buffer)}:${offset}:${size}`;
  return key;
}

/** Returns the arrays of dispatches, each once. */
export function hostArrays(dispatches: readonly Dispatch[]): Set<HostData> {
  const arrays = new Set<HostData>();
  for (const { kernel, bindings } of dispatches) {
    for (const { name } of kernel.bindings) {
      const bound = bindings[name];
      if (ArrayBuffer.isView(bound)) arrays.add(bound);
    }
  }
  return arrays;
}
