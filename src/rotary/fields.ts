import { describe, fail } from '../core/errors.js';

/** Reads and checks the fields of a config.json, of an object in it, or of the options of a call. */
export class Fields {
  readonly caller: string;
  /** The path of the object in messages; empty for the options of a call. */
  readonly name: string;
  readonly #object: Readonly<Record<string, unknown>>;

  constructor(caller: string, name: string, object: unknown) {
    if (typeof object !== 'object' || object === null || Array.isArray(object))
      fail('argument', caller, `${name || 'options'} must be an object, not ${describe(object)}.`);
    this.caller = caller;
    this.name = name;
    this.#object = object as Readonly<Record<string, unknown>>;
  }

  /** @throws PageflashError `argument` */
  refuse(problem: string): never {
    fail('argument', this.caller, problem);
  }

  get keys(): readonly string[] {
    return Object.keys(this.#object);
  }

  /**
   * Returns a field. In JSON, null counts as missing, as Python writes None; in the options of a call it is a mistake.
   */
  value(key: string): unknown {
    const value = Object.hasOwn(this.#object, key) ? this.#object[key] : undefined;
    return value === null && this.name !== '' ? undefined : value;
  }

  has(key: string): boolean {
    return this.value(key) !== undefined;
  }

  /** Returns a finite number above 0, or at least `least`; undefined if it is missing. */
  number(key: string, { least = Number.MIN_VALUE } = {}): number | undefined {
    const value = this.value(key);
    if (value === undefined) return undefined;
    if (typeof value === 'number' && Number.isFinite(value) && value >= least) return value;
    const rule = least === Number.MIN_VALUE ? '> 0' : `≥ ${least}`;
    this.refuse(`${this.#nameOf(key)} must be a finite number ${rule}, not ${describe(value)}.`);
  }

  /** Returns a number above 0 that must not be missing. */
  needed(key: string, why: string): number {
    const value = this.number(key);
    if (value !== undefined) return value;
    this.refuse(`${this.#nameOf(key)} is missing: ${why}.`);
  }

  flag(key: string): boolean | undefined {
    const value = this.value(key);
    if (value === undefined || typeof value === 'boolean') return value;
    this.refuse(`${this.#nameOf(key)} must be true or false, not ${describe(value)}.`);
  }

  text(key: string): string | undefined {
    const value = this.value(key);
    if (value === undefined || typeof value === 'string') return value;
    this.refuse(`${this.#nameOf(key)} must be a string, not ${describe(value)}.`);
  }

  #nameOf(key: string): string {
    return this.name ? `${this.name}.${key}` : key;
  }

  /** Returns an array of finite numbers above 0 that has a given length. */
  list(key: string, length: number): readonly number[] {
    const value = this.value(key);
    if (!Array.isArray(value) || value.length !== length) {
      const got = Array.isArray(value) ? value.length : describe(value);
      this.refuse(`${this.#nameOf(key)} must be ${length} numbers, not ${got}.`);
    }
    const list: readonly unknown[] = value;
    list.forEach((entry, i) => {
      if (typeof entry === 'number' && Number.isFinite(entry) && entry > 0) return;
      this.refuse(`${this.#nameOf(key)}[${i}] must be a finite number > 0, not ${describe(entry)}.`);
    });
    return list as readonly number[];
  }
}

/** The values of one number, by the names of the fields that may give it. */
export type FieldValues = Readonly<Record<string, number | undefined>>;

/**
 * Returns the number that several fields may give; undefined if none does.
 *
 * @throws PageflashError `argument` if they contradict each other
 */
export function agreed(caller: string, places: FieldValues): number | undefined {
  const given = Object.entries(places).filter(([, value]) => value !== undefined);
  const [first] = given;
  const other = given.find(([, value]) => value !== first![1]);
  if (other)
    fail(
      'argument',
      caller,
      `${first![0]} is ${first![1]}, but ${other[0]} is ${other[1]}. Leave one of them out.`,
    );
  return first?.[1];
}
