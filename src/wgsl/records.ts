import type { StructLayout } from './kernel.js';

/** Structs of 32-bit numbers one after another, as a kernel reads them from an `array<Struct>` or a uniform. */
export class Records {
  readonly words: Uint32Array<ArrayBuffer>;
  readonly #fields: readonly Field[];
  readonly #wordsOfOne: number;
  readonly #floats: Float32Array;

  /** @param words where to write them. Default: an array of their own */
  constructor(layout: StructLayout, count: number, words = new Uint32Array((count * layout.bytes) / 4)) {
    this.#fields = fieldsOf(layout);
    this.#wordsOfOne = layout.bytes / 4;
    this.words = words;
    this.#floats = new Float32Array(words.buffer, words.byteOffset, words.length);
  }

  /**
   * Writes one of them.
   *
   * @throws RangeError if a field is not given
   */
  set(index: number, values: Readonly<Record<string, number>>): void {
    const first = index * this.#wordsOfOne;
    for (const { name, word, isFloat } of this.#fields) {
      const value = values[name];
      if (value === undefined) throw new RangeError(`${name} of a record is not given.`);
      if (isFloat) this.#floats[first + word] = value;
      else this.words[first + word] = value;
    }
  }
}

interface Field {
  readonly name: string;
  /** Where it lies in a record. */
  readonly word: number;
  readonly isFloat: boolean;
}

const known = new WeakMap<StructLayout, readonly Field[]>();

function fieldsOf(layout: StructLayout): readonly Field[] {
  let fields = known.get(layout);
  if (!fields) {
    fields = Object.entries(layout.fields).map(([name, { offset, type }]) => ({
      name,
      word: offset / 4,
      isFloat: type === 'f32',
    }));
    known.set(layout, fields);
  }
  return fields;
}

/** How many records there are. */
export function recordCount({ bytes }: StructLayout, words: Uint32Array): number {
  return words.byteLength / bytes;
}

/** Where the fields of a record lie, and how long it is, in words. */
type Places<Name extends string> = Readonly<Record<Name | 'words', number>>;

const knownPlaces = new WeakMap<StructLayout, Places<string>>();

/**
 * Where the fields of a record lie, for lists that are too long to be written by name.
 *
 * @throws RangeError if these are not all fields
 */
export function placesOf<Name extends string>(
  layout: StructLayout,
  names: Readonly<Record<Name, true>>,
): Places<Name> {
  let places = knownPlaces.get(layout);
  if (!places) {
    const found: Record<string, number> = {};
    for (const { name, word } of fieldsOf(layout)) {
      if (!(name in names)) throw new RangeError(`${name} of a record is not given.`);
      found[name] = word;
    }
    knownPlaces.set(layout, (places = { ...found, words: layout.bytes / 4 }));
  }
  return places as Places<Name>;
}
