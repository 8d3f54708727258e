type Numbers = Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer>;

/** A result, what it was made of, and the last step that asked for it. */
interface Kept {
  of: readonly unknown[];
  value: unknown;
  step: number;
}

/**
 * What planning one step leaves for the next, so that only what changed is made again, and no garbage is left: results
 * by name, and arrays that are filled again. A single call begins with none of it.
 */
export class StepMemory {
  readonly #kept = new Map<string, Kept>();
  readonly #ints = new Map<string, Int32Array<ArrayBuffer>>();
  readonly #words = new Map<string, Uint32Array<ArrayBuffer>>();
  readonly #floats = new Map<string, Float32Array<ArrayBuffer>>();
  readonly #lists = new Map<string, unknown[]>();
  readonly #inner = new Map<string, StepMemory>();
  #step = 0;

  /** Begins a step: what the last one did not ask for is forgotten. */
  begin(): void {
    this.#step++;
    for (const inner of this.#inner.values()) inner.begin();
  }

  /** Forgets all results: after a step that was refused, arrays hold some of its numbers. */
  forget(): void {
    this.#kept.clear();
    for (const inner of this.#inner.values()) inner.forget();
  }

  /**
   * Returns what `make` gave in this step or the last one, if it was made of the same values, compared by identity. An
   * array that is among them must not be one that is filled again.
   */
  keep<T>(name: string, of: readonly unknown[], make: () => T): T {
    const kept = this.#kept.get(name);
    if (kept && kept.step >= this.#step - 1 && areSame(kept.of, of)) {
      kept.step = this.#step;
      return kept.value as T;
    }
    const value = make();
    this.#kept.set(name, { of, value, step: this.#step });
    return value;
  }

  /** Returns the array of a name, to be filled: the same one as long as its length stays the same. */
  ints(name: string, length: number): Int32Array<ArrayBuffer> {
    return reuse(this.#ints, name, length, Int32Array<ArrayBuffer>);
  }

  words(name: string, length: number): Uint32Array<ArrayBuffer> {
    return reuse(this.#words, name, length, Uint32Array<ArrayBuffer>);
  }

  floats(name: string, length: number): Float32Array<ArrayBuffer> {
    return reuse(this.#floats, name, length, Float32Array<ArrayBuffer>);
  }

  /** Returns the memory of a part of the planning that has the same names as the rest. */
  within(part: string): StepMemory {
    let inner = this.#inner.get(part);
    if (!inner) this.#inner.set(part, (inner = new StepMemory()));
    return inner;
  }

  /** Returns the list of a name as it was left, with objects that can be filled again. */
  list<T>(name: string): T[] {
    let list = this.#lists.get(name);
    if (!list) this.#lists.set(name, (list = []));
    return list as T[];
  }
}

/** Returns an array of a length, in the memory of the last one of its name if that is large enough. */
function reuse<T extends Numbers>(
  arrays: Map<string, T>,
  name: string,
  length: number,
  kind: new (buffer: ArrayBuffer, start: number, length: number) => T,
): T {
  const old = arrays.get(name);
  if (old?.length === length) return old;
  const has = old?.buffer.byteLength ?? 0;
  const buffer = old && has >= 4 * length ? old.buffer : new ArrayBuffer(Math.max(4 * length, 2 * has));
  const array = new kind(buffer, 0, length);
  arrays.set(name, array);
  return array;
}

function areSame(a: readonly unknown[], b: readonly unknown[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
