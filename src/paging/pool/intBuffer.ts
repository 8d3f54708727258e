/** Integers in place: a view of the length in use, which is a new object only when that length changes. */
export class IntBuffer {
  #storage = new Int32Array(16);
  #view = this.#storage.subarray(0, 0);

  /** The view of a new length. What was written stays, also what a shorter view hides. */
  resize(length: number): Int32Array<ArrayBuffer> {
    if (length > this.#storage.length) {
      this.#storage = grown(this.#storage, length);
    } else if (length === this.#view.length) return this.#view;
    this.#view = this.#storage.subarray(0, length);
    return this.#view;
  }
}

/** The same integers with room for twice as many, or for `length`: so that adding one at a time costs little each. */
export function grown(integers: Int32Array, length = 0): Int32Array<ArrayBuffer> {
  const more = new Int32Array(Math.max(length, 2 * integers.length));
  more.set(integers);
  return more;
}
