import { bufferId, isMappable } from '../core/gpuBuffers.js';
import type { Tensor } from '../core/tensor.js';
import type { BoundLayer } from '../runtime/recording.js';
import {
  isAlike,
  TENSOR_NAMES,
  type LayerTensors,
  type PlannedTensor,
  type TensorsByName,
} from './layerTensors.js';

/** A layer whose bind groups are made. */
interface Bound {
  /** Copies, in the order of the planned tensors. */
  readonly tensors: readonly Tensor[];
  readonly groups: BoundLayer;
}

/**
 * The layers of a plan that were recorded before, by the places of their tensors. Layers come in the same order in every
 * step, so the one after the last that was found is looked at first.
 */
export class BoundLayers {
  #planned: readonly PlannedTensor[] = [];
  /** Names of tensors that the plan does not have. */
  #others: readonly (keyof TensorsByName)[] = [];
  /** The tensors of the plan itself, for those that are not given. */
  #defaults: TensorsByName = {};
  #layers: Bound[] = [];
  readonly #byPlace = new Map<string, number>();
  #next = 0;

  /** The tensors that layers replace. */
  get planned(): readonly PlannedTensor[] {
    return this.#planned;
  }

  /** Begins with no layers, for other dispatches, or after buffers were lost. */
  reset(planned: readonly PlannedTensor[], defaults: TensorsByName): void {
    this.#planned = planned;
    this.#others = TENSOR_NAMES.filter((name) => planned.every((tensor) => tensor.name !== name));
    this.#defaults = defaults;
    this.clear();
  }

  clear(): void {
    this.#layers = [];
    this.#byPlace.clear();
    this.#next = 0;
  }

  /** Returns the bind groups of a layer; undefined if it was not bound, or if it must be checked again. */
  find(given: LayerTensors): BoundLayer | undefined {
    for (const name of this.#others) if (given[name] !== undefined) return undefined;
    const expected = this.#layers[this.#next];
    if (expected && this.#isBound(expected, given)) return this.#found(this.#next).groups;
    const place = this.#placeOf(given);
    const index = place === undefined ? undefined : this.#byPlace.get(place);
    return index === undefined ? undefined : this.#found(index).groups;
  }

  /** Remembers a layer. One with a buffer that can be mapped is not, since it is to be checked each time. */
  add(tensors: TensorsByName, groups: BoundLayer): void {
    if (this.#layers.length >= CAPACITY) this.clear();
    const copies = this.#planned.map(({ name }) => tensors[name]!);
    if (copies.some(({ buffer }) => isMappable(buffer))) return;
    this.#byPlace.set(this.#placeOf(tensors)!, this.#layers.length);
    this.#next = this.#layers.push({ tensors: copies, groups });
  }

  #found(index: number): Bound {
    this.#next = index + 1 < this.#layers.length ? index + 1 : 0;
    return this.#layers[index]!;
  }

  #isBound({ tensors }: Bound, given: LayerTensors): boolean {
    const planned = this.#planned;
    for (let i = 0; i < planned.length; i++) {
      const { name } = planned[i]!;
      const tensor = given[name] === undefined ? this.#defaults[name] : given[name];
      const bound = tensors[i]!;
      if (
        tensor?.buffer !== bound.buffer ||
        (tensor.offset ?? 0) !== (bound.offset ?? 0) ||
        !isAlike(tensor, planned[i]!)
      )
        return false;
    }
    return true;
  }

  /** A key that is equal for layers with the same buffers and offsets; undefined if the plan was not made for such tensors. */
  #placeOf(given: LayerTensors): string | undefined {
    let place = '';
    for (const planned of this.#planned) {
      const { name } = planned;
      const tensor = given[name] === undefined ? this.#defaults[name] : given[name];
      if (!tensor || !isAlike(tensor, planned)) return undefined;
      place += ` ${bufferId(tensor.buffer)}:${tensor.offset ?? 0}`;
    }
    return place;
  }
}

// Several for each layer of the deepest models.
const CAPACITY = 1024;
