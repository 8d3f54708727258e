/** A larger copy, with room for twice as many integers, or for `length`: so appending one costs O(1) on average. */
export function grown(integers: Int32Array, length = 0): Int32Array<ArrayBuffer> {
  const copy = new Int32Array(Math.max(length, 2 * integers.length));
  copy.set(integers);
  return copy;
}

/**
 * The same integers at another length: a new object only if the length changes, and in the same memory if that suffices.
 * What a shorter array hides is there again in a longer one.
 */
export function resized(integers: Int32Array<ArrayBuffer>, length: number): Int32Array<ArrayBuffer> {
  if (length === integers.length) return integers;
  const memory = new Int32Array(integers.buffer);
  return (length > memory.length ? grown(memory, length) : memory).subarray(0, length);
}
