import { isHostArray } from '../check/call.js';
import { isTensor, sameNumbers, type Tensor } from '../core/tensor.js';
import type { Mod } from '../problem/attentionArgs.js';
import { copyOfTensor } from './layerTensors.js';

type Values = Record<string, unknown>;

/**
 * The arguments of a plan as copies, so that later changes by the caller have no effect. A value that is given again as it
 * was stays the same object, so that what was made of it can be kept; one that changed becomes another object. Arrays
 * have two objects in turn, which leaves no garbage.
 */
export class PlanArguments<Args extends object> {
  #current = {} as Values;
  /** Arrays that are not in use, by argument. */
  readonly #spare: Values = {};
  /** Arguments of the last merge that are the caller's own arrays. */
  readonly #borrowed: string[] = [];

  get current(): Args {
    return this.#current as Args;
  }

  /** Whether the last merge has arrays of other lengths than before. They are copied by `keep`, once they are checked. */
  get borrows(): boolean {
    return this.#borrowed.length > 0;
  }

  /** Returns the arguments with some replaced: the current ones if nothing is new. They become current by `keep`. */
  merge(given: Partial<Args>): Args {
    const current = this.#current;
    let merged = current;
    this.#borrowed.length = 0;
    for (const name in given) {
      const value = this.#copyOf(name, given[name]);
      if (value === current[name] && name in current) continue;
      if (merged === current) merged = { ...current };
      merged[name] = value;
    }
    return merged as Args;
  }

  /** Makes arguments current that `merge` has returned. */
  keep(merged: Args): void {
    const values = merged as Values;
    for (const name of this.#borrowed) values[name] = copyOfArray(values[name] as ArrayLike<number>);
    for (const name in this.#current) {
      const old = this.#current[name];
      if (old !== values[name] && isHostArray(old)) this.#spare[name] = old;
    }
    this.#current = values;
  }

  #copyOf(name: string, given: unknown): unknown {
    const old = this.#current[name];
    if (isTensor(given)) return isTensor(old) && isSame(given, old) ? old : copyOfTensor(given);
    if (isMod(given)) return isMod(old) ? copyOfMod(given, old) : copyOfMod(given);
    if (name !== 'pass' && hasFields(given))
      return hasFields(old) && hasSameFields(given, old) ? old : copyOfFields(given);
    if (!isHostArray(given)) return given;
    if (!isHostArray(old) || old.length !== given.length || !holdsAlike(old, given)) {
      this.#borrowed.push(name);
      return given;
    }
    if (sameNumbers(old, given)) return old;
    const spare = this.#spare[name];
    if (!isHostArray(spare) || spare.length !== given.length || !holdsAlike(spare, given))
      return copyOfArray(given);
    const copy = spare as number[];
    for (let i = 0; i < given.length; i++) copy[i] = given[i]!;
    return copy;
  }
}

/** Whether a tensor is what an accepted one was, and its buffer can still be used. */
function isSame({ buffer, dtype, shape, offset, strides }: Tensor, old: Tensor): boolean {
  return (
    buffer === old.buffer &&
    dtype === old.dtype &&
    offset === old.offset &&
    Array.isArray(shape) &&
    sameNumbers(shape, old.shape) &&
    (strides === old.strides ||
      (Array.isArray(strides) && old.strides !== undefined && sameNumbers(strides, old.strides))) &&
    (buffer.mapState === undefined || buffer.mapState === 'unmapped')
  );
}

/** An argument that has fields: tensors, arrays and values. */
type Fields = Readonly<Record<string, unknown>>;

function hasFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !isTensor(value) && !isHostArray(value);
}

function hasSameFields(given: Fields, old: Fields): boolean {
  const names = Object.keys(given);
  if (names.length !== Object.keys(old).length) return false;
  return names.every((name) => {
    const [value, other] = [given[name], old[name]];
    if (isTensor(value)) return isTensor(other) && isSame(value, other);
    if (isHostArray(value)) return isHostArray(other) && sameNumbers(value, other);
    return value === other;
  });
}

/** Returns a copy; what no plan can use is kept, for the check that refuses it. */
function copyOfFields(given: Fields): Fields {
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => {
      if (isTensor(value)) return [name, copyOfTensor(value)];
      return [name, isHostArray(value) ? copyOfArray(value) : value];
    }),
  );
}

/** A `scoreMod` or a `maskMod`, whatever its fields are. */
function isMod(value: unknown): value is Mod {
  return typeof value === 'object' && value !== null && 'name' in value && 'code' in value;
}

/** Returns a copy, or an earlier one that is the same. Tensors that are as they were stay the same objects. */
function copyOfMod(given: Mod, old?: Mod): Mod {
  const { params, tensors } = given;
  const copy = {
    ...given,
    ...(isHostArray(params) && { params: copyOfArray(params) as readonly number[] }),
    ...(typeof tensors === 'object' && tensors !== null && { tensors: copyOfTensors(tensors, old?.tensors) }),
  };
  return old && isSameMod(copy, old) ? old : copy;
}

function copyOfTensors(
  given: NonNullable<Mod['tensors']>,
  old: Mod['tensors'],
): Readonly<Record<string, Tensor>> {
  const copies = Object.entries(given).map(([name, tensor]) => {
    if (!isTensor(tensor)) return [name, tensor];
    const known = old?.[name];
    return [name, known && isSame(tensor, known) ? known : copyOfTensor(tensor)];
  });
  return Object.fromEntries(copies) as Record<string, Tensor>;
}

function isSameMod({ name, code, params, tensors, ...rest }: Mod, old: Mod): boolean {
  return (
    name === old.name &&
    code === old.code &&
    Object.keys(rest).length === 0 &&
    isSameList(params, old.params) &&
    isSameList(Object.keys(tensors ?? {}), Object.keys(old.tensors ?? {})) &&
    isSameList(Object.values(tensors ?? {}), Object.values(old.tensors ?? {}))
  );
}

function isSameList(a: ArrayLike<unknown> | undefined, b: ArrayLike<unknown> | undefined): boolean {
  if (!a || !b || a.length !== b.length) return a === b;
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return false;
  return true;
}

/** Whether an array of the plan can hold all that another has. */
function holdsAlike(own: ArrayLike<number>, given: ArrayLike<number>): boolean {
  return Array.isArray(own) || own.constructor === given.constructor;
}

function copyOfArray(numbers: ArrayLike<number>): ArrayLike<number> {
  const isTyped =
    numbers instanceof Int32Array || numbers instanceof Uint32Array || numbers instanceof Float32Array;
  return isTyped ? numbers.slice() : Array.from(numbers);
}
