import type { Dispatch } from '../core/dispatch.js';
import type { Tensor } from '../core/tensor.js';
import { hostArrays, type BindGroups, type BoundDispatch, type DataLocations } from './boundDispatch.js';
import { ScratchBuffers, type Memory } from './memory.js';
import type { Pipelines } from './pipelines.js';
import { bytesOf, packParams, PersistentBuffers } from './uploads.js';

/**
 * Dispatches to be recorded again and again, on other tensors. Their params and arrays stay on the GPU. An update leaves
 * the buffers where they are as long as they are large enough, so bind groups stay valid.
 */
export class Recording {
  readonly #memory: Memory;
  readonly #pipelines: Pipelines;
  readonly #bindGroups: BindGroups;
  readonly #buffers: PersistentBuffers;
  readonly #scratch: ScratchBuffers;
  #dispatches: readonly Dispatch[] = [];
  /** Of each dispatch. */
  #locations: readonly DataLocations[] = [];
  #compiled: readonly GPUComputePipeline[] = [];
  /** Changes when anything but tensors moves. */
  #layout = '';
  /** The bind group of each dispatch, by the name under which tensors were bound. */
  readonly #groups = new Map<string, readonly GPUBindGroup[]>();
  #nLost = 0;

  constructor(device: GPUDevice, memory: Memory, pipelines: Pipelines, bindGroups: BindGroups) {
    this.#memory = memory;
    this.#pipelines = pipelines;
    this.#bindGroups = bindGroups;
    this.#buffers = new PersistentBuffers(device, memory);
    this.#scratch = new ScratchBuffers(memory);
  }

  /** Replaces the dispatches. What was recorded before must have been submitted, since its numbers are overwritten. */
  update(dispatches: readonly Dispatch[]): void {
    // First, since a kernel that was refused throws.
    this.#compiled = dispatches.map((dispatch) => this.#pipelines.get(dispatch));
    const arrays = new Map(
      Array.from(hostArrays(dispatches), ([array, name]) => [
        array,
        this.#buffers.write(name, bytesOf(array)),
      ]),
    );
    this.#dispatches = dispatches;
    this.#locations = dispatches.map(({ kernel, params }, i) => ({
      params: this.#buffers.write(`params ${i}`, packParams(kernel.params, params)),
      arrays,
      scratch: this.#scratch,
    }));
    const keys = dispatches.map((dispatch, i) => this.#bindGroups.keyOf(dispatch, this.#locations[i]!));
    const layout = keys.join();
    if (layout !== this.#layout) this.#groups.clear();
    this.#layout = layout;
    this.#nLost = this.#memory.nLost;
  }

  /** Whether tensors were bound under a name, and the bind groups are still valid. */
  has(name: string): boolean {
    return !this.#isStale && this.#groups.has(name);
  }

  /** Binds tensors instead of those that the dispatches were planned for, under a name. */
  bind(name: string, instead: ReadonlyMap<Tensor, Tensor>): void {
    if (this.#isStale) this.update(this.#dispatches);
    if (this.#groups.size >= CAPACITY) this.#groups.clear();
    const groups = this.#dispatches.map((dispatch, i) =>
      this.#bindGroups.get(dispatch, { ...this.#locations[i]!, instead }),
    );
    this.#groups.set(name, groups);
  }

  /** Returns the dispatches, on the tensors of a name. */
  bound(name: string): BoundDispatch[] {
    const groups = this.#groups.get(name)!;
    return this.#dispatches.map(({ kernel, grid }, i) => ({
      kernel: kernel.name,
      pipeline: this.#compiled[i]!,
      group: groups[i]!,
      grid,
    }));
  }

  /** Whether the device had no memory for a buffer since the update. It may be one of this recording's. */
  get #isStale(): boolean {
    return this.#nLost !== this.#memory.nLost;
  }

  destroy(): void {
    this.#buffers.destroy();
    this.#scratch.destroy();
  }
}

// Several for each layer of the deepest models.
const CAPACITY = 1024;
