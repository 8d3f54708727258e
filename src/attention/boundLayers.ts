import { bufferId, isMappable } from '../core/gpuBuffers.js';
import { isTensor, type Tensor } from '../core/tensor.js';
import type { BoundLayer } from '../runtime/recording.js';
import {
  isAlike,
  TENSOR_NAMES,
  type LayerTensors,
  type PlannedTensor,
  type PlanTensors,
  type TensorsByName,
} from './layerTensors.js';

/** A layer whose bind groups are made. */
interface Bound {
  /** Copies, by `TENSOR_NAMES`. */
  readonly tensors: readonly (Tensor | undefined)[];
  readonly groups: BoundLayer;
}

/**
 * The layers of a plan that were recorded before, by the places of their tensors. Layers come in the same order in every
 * step, so the one after the last that was found is looked at first.
 */
export class BoundLayers {
  #planned: readonly PlannedTensor[] = [];
  /** By `TENSOR_NAMES`: the planned tensor of a name, and the plan's own, for one that is not given. */
  #plannedOf: readonly (PlannedTensor | undefined)[] = [];
  #defaults: readonly (Tensor | undefined)[] = [];
  /** Likewise the tensors of the layer that is looked for. */
  readonly #given: (Tensor | undefined)[] = [];
  #layers: Bound[] = [];
  readonly #byPlace = new Map<string, number>();
  #next = 0;

  /** The tensors that layers replace. */
  get planned(): readonly PlannedTensor[] {
    return this.#planned;
  }

  /** Begins with no layers, for other dispatches, or after buffers were lost. */
  reset(planned: readonly PlannedTensor[], defaults: PlanTensors): void {
    this.#planned = planned;
    this.#plannedOf = TENSOR_NAMES.map((name) => planned.find((tensor) => tensor.name === name));
    this.#defaults = TENSOR_NAMES.map((name) => {
      const value = defaults[name];
      return value && isTensor(value) ? value : undefined;
    });
    this.clear();
  }

  clear(): void {
    this.#layers = [];
    this.#byPlace.clear();
    this.#next = 0;
  }

  /** Returns the bind groups of a layer; undefined if it was not bound, or if it must be checked again. */
  find(given: LayerTensors): BoundLayer | undefined {
    if (!this.#read(given)) return undefined;
    const expected = this.#layers[this.#next];
    if (expected && this.#isBound(expected)) return this.#found(this.#next).groups;
    const place = this.#placeOf();
    const index = place === undefined ? undefined : this.#byPlace.get(place);
    return index === undefined ? undefined : this.#found(index).groups;
  }

  /** Remembers a layer. One with a buffer that can be mapped is not, since it is to be checked each time. */
  add(tensors: TensorsByName, groups: BoundLayer): void {
    if (this.#layers.length >= CAPACITY) this.clear();
    if (Object.values(tensors).some(({ buffer }) => isMappable(buffer))) return;
    this.#read(tensors);
    this.#byPlace.set(this.#placeOf()!, this.#layers.length);
    this.#next = this.#layers.push({ tensors: this.#given.slice(), groups });
  }

  #found(index: number): Bound {
    this.#next = index + 1 < this.#layers.length ? index + 1 : 0;
    return this.#layers[index]!;
  }

  /**
   * Reads the tensors of a layer, by names that are written out, which is several times as fast as by names in variables.
   * Returns whether the plan has all of them.
   */
  #read({ q, k, v, kCache, vCache, kScale, vScale, bias, out, lse }: LayerTensors): boolean {
    const given = this.#given;
    given[0] = q;
    given[1] = k;
    given[2] = v;
    given[3] = kCache;
    given[4] = vCache;
    given[5] = kScale;
    given[6] = vScale;
    given[7] = bias;
    given[8] = out;
    given[9] = lse;
    for (let i = 0; i < given.length; i++) {
      if (given[i] === undefined) given[i] = this.#defaults[i];
      else if (!this.#plannedOf[i]) return false;
    }
    return true;
  }

  #isBound({ tensors }: Bound): boolean {
    for (let i = 0; i < tensors.length; i++) {
      const planned = this.#plannedOf[i];
      if (!planned) continue;
      const tensor = this.#given[i];
      const bound = tensors[i]!;
      if (
        tensor?.buffer !== bound.buffer ||
        (tensor.offset ?? 0) !== (bound.offset ?? 0) ||
        !isAlike(tensor, planned)
      )
        return false;
    }
    return true;
  }

  /** A key that is equal for layers with the same buffers and offsets; undefined if the plan was not made for such tensors. */
  #placeOf(): string | undefined {
    let place = '';
    for (const [i, planned] of this.#plannedOf.entries()) {
      if (!planned) continue;
      const tensor = this.#given[i];
      if (!tensor || !isAlike(tensor, planned)) return undefined;
      place += ` ${bufferId(tensor.buffer)}:${tensor.offset ?? 0}`;
    }
    return place;
  }
}

// Several for each layer of the deepest models.
const CAPACITY = 1024;
