const COUNTED = [
  'createBuffer',
  'createBindGroup',
  'createShaderModule',
  'createComputePipeline',
  'writeBuffer',
] as const;
type Counted = (typeof COUNTED)[number];

/** How often a device, its queue included, makes or writes something while `work` runs. */
export function countCalls(device: GPUDevice, work: () => void): Record<Counted, number> {
  const counts = Object.fromEntries(COUNTED.map((name) => [name, 0])) as Record<Counted, number>;
  const restore: (() => void)[] = [];
  // By prototype, since `device.queue` need not be the same object each time.
  for (const owner of [device, device.queue].map((object) => Object.getPrototypeOf(object) as object)) {
    for (const name of COUNTED) {
      const original = Object.getOwnPropertyDescriptor(owner, name);
      if (!original) continue;
      const call = original.value as (...args: unknown[]) => unknown;
      Object.defineProperty(owner, name, {
        ...original,
        value(this: unknown, ...args: unknown[]) {
          counts[name]++;
          return call.apply(this, args);
        },
      });
      restore.push(() => Object.defineProperty(owner, name, original));
    }
  }
  try {
    work();
  } finally {
    for (const undo of restore) undo();
  }
  return counts;
}
