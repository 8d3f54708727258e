import { describe, fail } from '../core/errors.js';

/** What JSON can hold in a place, by name: of a config.json, of an object in it, or of options like them. */
export class Fields {
  readonly caller: string;
  /** What errors call the object; empty for the options of a call, which go by their own names. */
  readonly name: string;
  readonly #object: Readonly<Record<string, unknown>>;

  constructor(caller: string, name: string, object: unknown) {
    if (typeof object !== 'object' || object === null || Array.isArray(object))
      fail('argument', caller, `${name || 'options'} must be an object, not ${describe(object)}.`);
    this.caller = caller;
    this.name = name;
    this.#object = object as Readonly<Record<string, unknown>>;
  }

  get keys(): readonly string[] {
    return Object.keys(this.#object);
  }

  /** What is there. In JSON null is nothing, as Python writes None; in the options of a call it is a mistake. */
  value(key: string): unknown {
    const value = Object.hasOwn(this.#object, key) ? this.#object[key] : undefined;
    return value === null && this.name !== '' ? undefined : value;
  }

  has(key: string): boolean {
    return this.value(key) !== undefined;
  }

  /** A finite number, above 0 unless something else is said. */
  number(key: string, { least = Number.MIN_VALUE } = {}): number | undefined {
    const value = this.value(key);
    if (value === undefined) return undefined;
    if (typeof value === 'number' && Number.isFinite(value) && value >= least) return value;
    const rule = least === Number.MIN_VALUE ? '> 0' : `≥ ${least}`;
    fail(
      'argument',
      this.caller,
      `${this.#nameOf(key)} must be a finite number ${rule}, not ${describe(value)}.`,
    );
  }

  /** A number that must be there. */
  needed(key: string, why: string): number {
    const value = this.number(key);
    if (value !== undefined) return value;
    fail('argument', this.caller, `${this.#nameOf(key)} is missing: ${why}.`);
  }

  flag(key: string): boolean | undefined {
    const value = this.value(key);
    if (value === undefined || typeof value === 'boolean') return value;
    fail('argument', this.caller, `${this.#nameOf(key)} must be true or false, not ${describe(value)}.`);
  }

  text(key: string): string | undefined {
    const value = this.value(key);
    if (value === undefined || typeof value === 'string') return value;
    fail('argument', this.caller, `${this.#nameOf(key)} must be a string, not ${describe(value)}.`);
  }

  #nameOf(key: string): string {
    return this.name ? `${this.name}.${key}` : key;
  }

  /** So many finite numbers above 0. */
  list(key: string, length: number): readonly number[] {
    const value = this.value(key);
    if (!Array.isArray(value) || value.length !== length) {
      const got = Array.isArray(value) ? value.length : describe(value);
      fail('argument', this.caller, `${this.#nameOf(key)} must be ${length} numbers, not ${got}.`);
    }
    const list: readonly unknown[] = value;
    list.forEach((entry, i) => {
      if (typeof entry === 'number' && Number.isFinite(entry) && entry > 0) return;
      fail(
        'argument',
        this.caller,
        `${this.#nameOf(key)}[${i}] must be a finite number > 0, not ${describe(entry)}.`,
      );
    });
    return list as readonly number[];
  }
}

/** A number by the names of the places that may say it. */
export type Places = Readonly<Record<string, number | undefined>>;

/**
 * The number that several places may give, undefined if none does.
 *
 * @throws PageflashError `argument` if they contradict each other
 */
export function agreed(caller: string, places: Places): number | undefined {
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
