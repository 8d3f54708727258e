const ids = new WeakMap<GPUBuffer, number>();
let nextId = 0;

/** A number that no other buffer has, for keys of caches. */
export function bufferId(buffer: GPUBuffer): number {
  let id = ids.get(buffer);
  if (id === undefined) {
    id = nextId++;
    ids.set(buffer, id);
  }
  return id;
}
