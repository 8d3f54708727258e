import type { StructLayout } from './kernel.js';

/** Structs of u32 numbers one after another, as a kernel reads them from an `array<Struct>`. */
export class Records {
  readonly words: Uint32Array;
  /** Each field with its place in a record. */
  readonly #fields: readonly (readonly [name: string, word: number])[];
  readonly #wordsOfOne: number;

  constructor({ bytes, fields }: StructLayout, count: number) {
    this.#fields = Object.entries(fields).map(([name, { offset }]) => [name, offset / 4]);
    this.#wordsOfOne = bytes / 4;
    this.words = new Uint32Array(count * this.#wordsOfOne);
  }

  /**
   * Writes one of them.
   *
   * @throws RangeError if a field is not given
   */
  set(index: number, values: Readonly<Record<string, number>>): void {
    const first = index * this.#wordsOfOne;
    for (const [name, word] of this.#fields) {
      const value = values[name];
      if (value === undefined) throw new RangeError(`${name} of a record is not given.`);
      this.words[first + word] = value;
    }
  }
}

/** How many records there are. */
export function recordCount({ bytes }: StructLayout, words: Uint32Array): number {
  return words.byteLength / bytes;
}
