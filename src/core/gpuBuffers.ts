// What can be said of GPU buffers without a call of WebGPU.

/**
 * Flags as the WebGPU specification numbers them. Browsers have them as globals. In Node they are globals only if a
 * program defines them, so nothing here relies on that.
 */
export const BUFFER_USAGE = {
  MAP_READ: 0x0001,
  MAP_WRITE: 0x0002,
  COPY_SRC: 0x0004,
  COPY_DST: 0x0008,
  UNIFORM: 0x0040,
  STORAGE: 0x0080,
  QUERY_RESOLVE: 0x0200,
} as const;

export const MAP_MODE = { READ: 0x0001 } as const;

/** Whether a buffer that is not mapped now can be mapped later. */
export function isMappable({ usage }: GPUBuffer): boolean {
  return (usage & (BUFFER_USAGE.MAP_READ | BUFFER_USAGE.MAP_WRITE)) !== 0;
}

const ids = new WeakMap<GPUBuffer, number>();
let nextId = 0;

/** Returns a number that no other buffer has, for the keys of caches. */
export function bufferId(buffer: GPUBuffer): number {
  let id = ids.get(buffer);
  if (id === undefined) {
    id = nextId++;
    ids.set(buffer, id);
  }
  return id;
}

const devices = new WeakMap<object, object>();

/** Remembers the device of a buffer that pageflash has made, or of the traits of a runtime. */
export function noteDevice(thing: object, device: object): void {
  devices.set(thing, device);
}

/**
 * Whether two things are known to belong to different devices. WebGPU itself reports it only after the work was
 * submitted.
 */
export function areOfDifferentDevices(a: object, b: object): boolean {
  const [first, second] = [devices.get(a), devices.get(b)];
  return first !== undefined && second !== undefined && first !== second;
}
