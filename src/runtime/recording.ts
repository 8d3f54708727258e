import type { Dispatch } from '../core/dispatch.js';
import type { Tensor } from '../core/tensor.js';
import { bytesOf, hostArrays, type Places } from './bindingRanges.js';
import type { Memory } from './memory.js';
import { packed } from './packed.js';
import { ScratchBuffers } from './scratch.js';
import { Slots } from './slots.js';
import type { Step, Steps } from './steps.js';

/**
 * Dispatches whose own numbers stay on the GPU, to be recorded again and again on other tensors. From one update to the
 * next their buffers stay where they are as long as they are large enough, and so bind groups stay valid.
 */
export class Recording {
  readonly #memory: Memory;
  readonly #steps: Steps;
  readonly #slots: Slots;
  readonly #scratch: ScratchBuffers;
  #dispatches: readonly Dispatch[] = [];
  #places: readonly Places[] = [];
  #pipelines: readonly GPUComputePipeline[] = [];
  #layout = '';
  #groups = new Map<string, readonly GPUBindGroup[]>();
  #nLost = 0;

  constructor(device: GPUDevice, memory: Memory, steps: Steps) {
    this.#memory = memory;
    this.#steps = steps;
    this.#slots = new Slots(device, memory);
    this.#scratch = new ScratchBuffers(memory);
  }

  /** Take new dispatches. What was recorded before must have been submitted. */
  update(dispatches: readonly Dispatch[]): void {
    // First, since a kernel that was refused throws.
    this.#pipelines = dispatches.map((dispatch) => this.#steps.pipeline(dispatch));
    const arrays = new Map(
      Array.from(hostArrays(dispatches), ([array, name]) => [array, this.#slots.write(name, bytesOf(array))]),
    );
    this.#dispatches = dispatches;
    this.#places = dispatches.map(({ kernel, params }, i) => ({
      params: this.#slots.write(`params ${i}`, packed(kernel.params, params)),
      arrays,
      scratch: this.#scratch,
    }));
    const keys = dispatches.map((dispatch, i) => this.#steps.groupKey(dispatch, this.#places[i]!));
    const layout = keys.join();
    if (layout !== this.#layout) this.#groups.clear();
    this.#layout = layout;
    this.#nLost = this.#memory.nLost;
  }

  /** Whether tensors of that name were bound, and nothing has moved since. */
  has(name: string): boolean {
    return !this.#isStale && this.#groups.has(name);
  }

  /** Bind other tensors than the dispatches were planned for, under a name. */
  bind(name: string, instead: ReadonlyMap<Tensor, Tensor>): void {
    if (this.#isStale) this.update(this.#dispatches);
    if (this.#groups.size >= CAPACITY) this.#groups.clear();
    const groups = this.#dispatches.map((dispatch, i) =>
      this.#steps.group(dispatch, { ...this.#places[i]!, instead }),
    );
    this.#groups.set(name, groups);
  }

  /** The dispatches on the tensors of that name. */
  steps(name: string): Step[] {
    const groups = this.#groups.get(name)!;
    return this.#dispatches.map(({ kernel, grid }, i) => ({
      kernel: kernel.name,
      pipeline: this.#pipelines[i]!,
      group: groups[i]!,
      grid,
    }));
  }

  /** Whether there was no memory for a buffer, which may be one of ours. */
  get #isStale(): boolean {
    return this.#nLost !== this.#memory.nLost;
  }

  destroy(): void {
    this.#slots.destroy();
    this.#scratch.destroy();
  }
}

// Several for each layer of the deepest models.
const CAPACITY = 1024;
