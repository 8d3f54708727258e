import type { Dispatch, HostData } from '../core/dispatch.js';
import type { Tensor } from '../core/tensor.js';
import { hostArrays, type BindGroups, type BoundDispatch, type DataLocations } from './boundDispatch.js';
import { ScratchBuffers, type BufferRange, type Memory } from './memory.js';
import type { Pipelines } from './pipelines.js';
import { PersistentUploads, packParams, wordsOf } from './uploads.js';

/** The bind groups of a layer, one for each dispatch of a recording. */
export type BoundLayer = readonly GPUBindGroup[];

/**
 * Dispatches to be recorded again and again, on other tensors. Their params and arrays stay on the GPU. An update leaves
 * them where they are as long as there is room, so bind groups stay valid.
 */
export class Recording {
  readonly #memory: Memory;
  readonly #pipelines: Pipelines;
  readonly #bindGroups: BindGroups;
  readonly #uploads: PersistentUploads;
  readonly #scratch: ScratchBuffers;
  #dispatches: readonly Dispatch[] = [];
  /** The arrays that they bind, each once, and what these are as uploads. */
  #arrays: readonly HostData[] = [];
  #arrayWords: readonly Uint32Array[] = [];
  /** Of each dispatch. */
  #locations: readonly DataLocations[] = [];
  #compiled: readonly GPUComputePipeline[] = [];
  /** How many dispatches, at the start, run once a step and not for each layer. */
  #nPerStep = 0;
  /** The pass that these were recorded into since the last update. */
  #stepPass: GPUComputePassEncoder | undefined;
  /** Changes when anything but tensors moves. */
  #layout = '';
  #nLost = 0;
  /** Dispatches with mods of which it is not known that the compiler accepts them. */
  #unprepared: readonly Dispatch[] = [];

  constructor(device: GPUDevice, memory: Memory, pipelines: Pipelines, bindGroups: BindGroups) {
    this.#memory = memory;
    this.#pipelines = pipelines;
    this.#bindGroups = bindGroups;
    this.#uploads = new PersistentUploads(device, memory);
    this.#scratch = new ScratchBuffers(memory);
  }

  /**
   * Checks that the dispatches may be recorded into a caller's pass.
   *
   * @throws PageflashError `argument` if one has mods that were not prepared
   */
  assertPrepared(caller: string): void {
    for (const dispatch of this.#unprepared) this.#pipelines.assertAccepted(caller, dispatch);
    this.#unprepared = [];
  }

  /**
   * Begins a step with the dispatches of the last one, whose arrays may have been filled again. Returns false if the device
   * has something to create for it, which `update` does.
   */
  repeat(dispatches: readonly Dispatch[]): boolean {
    if (dispatches !== this.#dispatches || this.isStale) return false;
    this.#stepPass = undefined;
    const nParams = dispatches.length;
    for (let i = 0; i < this.#arrayWords.length; i++) this.#uploads.set(nParams + i, this.#arrayWords[i]!);
    this.#uploads.flush();
    return true;
  }

  /**
   * Replaces the dispatches. What was recorded before must have been submitted, since its numbers are overwritten.
   *
   * @returns whether layers that were bound before can be recorded as they are
   */
  update(dispatches: readonly Dispatch[]): boolean {
    // First, since a kernel that was refused throws.
    const compiled = dispatches.map((dispatch) => this.#pipelines.get(dispatch));
    const arrays = [...hostArrays(dispatches)];
    const arrayWords = arrays.map(wordsOf);
    const params = dispatches.map((dispatch) => packParams(dispatch.kernel.params, dispatch.params));
    const parts = [...params, ...arrayWords];
    const sizes = parts.map((words) => words.byteLength);
    if (!this.#uploads.hasRoom(sizes)) this.#uploads.makeRoom(sizes);
    parts.forEach((words, part) => this.#uploads.set(part, words));
    this.#uploads.flush();
    this.#compiled = compiled;
    this.#dispatches = dispatches;
    this.#unprepared = dispatches.filter(({ kernel }) => kernel.mods);
    this.#arrays = arrays;
    this.#arrayWords = arrayWords;
    const nPerStep = dispatches.findIndex(({ perStep }) => !perStep);
    this.#nPerStep = nPerStep < 0 ? dispatches.length : nPerStep;
    this.#stepPass = undefined;
    return this.#locate();
  }

  /** Whether the device had no memory for a buffer since the update. It may be one of this recording's. */
  get isStale(): boolean {
    return this.#nLost !== this.#memory.nLost;
  }

  /** Makes buffers anew that the device had no memory for. Returns what `update` returns. */
  renew(): boolean {
    this.#uploads.restore();
    return this.#locate();
  }

  /** Binds tensors instead of those that the dispatches were planned for. */
  bind(instead: ReadonlyMap<Tensor, Tensor>): BoundLayer {
    return this.#dispatches.map((dispatch, i) =>
      this.#bindGroups.get(dispatch, { ...this.#locations[i]!, instead }),
    );
  }

  /** Records the dispatches on the tensors of a layer. */
  encode(layer: BoundLayer, pass: GPUComputePassEncoder): void {
    const dispatches = this.#dispatches;
    const compiled = this.#compiled;
    let pipeline: GPUComputePipeline | undefined;
    for (let i = this.#firstFor(pass); i < layer.length; i++) {
      const { grid } = dispatches[i]!;
      if (compiled[i] !== pipeline) pass.setPipeline((pipeline = compiled[i]!));
      pass.setBindGroup(0, layer[i]!);
      pass.dispatchWorkgroups(grid[0], grid[1], grid[2]);
    }
    this.#stepPass = pass;
  }

  /** Returns the dispatches on the tensors of a layer, for a pass of their own. */
  bound(layer: BoundLayer): BoundDispatch[] {
    return this.#dispatches.map(({ kernel, grid }, i) => ({
      kernel: kernel.name,
      pipeline: this.#compiled[i]!,
      group: layer[i]!,
      grid,
    }));
  }

  /** The first dispatch that a layer needs in a pass. */
  #firstFor(pass: GPUComputePassEncoder): number {
    return pass === this.#stepPass ? this.#nPerStep : 0;
  }

  /** Notes where the data of the dispatches are. Returns whether they, and all but tensors, are where they were. */
  #locate(): boolean {
    const nParams = this.#dispatches.length;
    const arrays = new Map(this.#arrays.map((array, i) => [array, this.#uploads.range(nParams + i)]));
    this.#locations = this.#dispatches.map(({ kernel }, i) => ({
      params: paramsRange(this.#uploads.range(i), kernel.params.bytes),
      arrays,
      scratch: this.#scratch,
    }));
    const keys = this.#dispatches.map((dispatch, i) => this.#bindGroups.keyOf(dispatch, this.#locations[i]!));
    const layout = keys.join();
    const isSame = layout === this.#layout;
    this.#layout = layout;
    this.#nLost = this.#memory.nLost;
    return isSame;
  }

  destroy(): void {
    this.#uploads.destroy();
    this.#scratch.destroy();
  }
}

/** The part of a range that the params take: in another step there may have been a longer array. */
function paramsRange({ buffer, offset }: BufferRange, bytes: number): BufferRange {
  return { buffer, offset, size: Math.max(16, Math.ceil(bytes / 16) * 16) };
}
