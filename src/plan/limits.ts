import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch } from '../core/dispatch.js';
import { fail } from '../core/errors.js';
import type { Kernel } from '../wgsl/kernel.js';
import { workgroupSizeOf } from '../wgsl/reflection.js';

/** Most entries of a work list of any kind: with more, making it would take seconds. */
const MAX_ITEMS = 2 ** 22;

/** Checks how long a work list will be before it is made. */
export function checkWorkItems(caller: string, n: number, what: string): void {
  if (n <= MAX_ITEMS) return;
  fail(
    'limit',
    caller,
    `there are ${n} ${what}, but a call takes at most ${MAX_ITEMS}. Pass fewer sequences, or lower maxSeqlenQ and numSplits.`,
  );
}

/** Kernels number the invocations of a dispatch by u32. */
const MAX_INVOCATIONS = 2 ** 32;

/** Checks that a device can take all of the dispatches of a call. */
export function checkDispatches(caller: string, dispatches: readonly Dispatch[], traits: DeviceTraits): void {
  const { maxWorkgroupsPerDimension, maxBindingBytes, maxStorageBuffers } = traits;
  for (const dispatch of dispatches) {
    const { kernel, bindings, grid } = dispatch;
    checkStorageBuffers(caller, kernel, maxStorageBuffers);
    const [x, y] = grid;
    const workgroupSize = workgroupSizeOf(dispatch);
    if (y > maxWorkgroupsPerDimension || x * y * workgroupSize > MAX_INVOCATIONS) {
      fail(
        'limit',
        caller,
        `${kernel.name} needs ${x * y} workgroups of ${workgroupSize}, but there can be ${maxWorkgroupsPerDimension}² of them, with 2³² invocations. Do less at a time.`,
      );
    }
    for (const name in bindings) {
      const bound = bindings[name];
      if (!bound || 'shape' in bound) continue;
      const bytes = ArrayBuffer.isView(bound) ? bound.byteLength : bound.bytes;
      if (bytes <= maxBindingBytes) continue;
      fail(
        'limit',
        caller,
        `${kernel.name} needs ${bytes} bytes for ${name}, but this device binds at most ${maxBindingBytes}. Do less at a time.`,
      );
    }
  }
}

/** Bindings from here on are options of a call, and so are these. */
const FIRST_OPTION = 9;
const OPTIONS_BEFORE = new Set(['block_table', 'lse']);

/** Checks that a device binds as many storage buffers as a kernel needs for the options of a call. */
function checkStorageBuffers(caller: string, kernel: Kernel, maxStorageBuffers: number): void {
  const { name, bindings } = kernel;
  const storage = bindings.filter(({ access }) => access !== 'uniform');
  if (storage.length <= maxStorageBuffers) return;
  const options = storage
    .filter(({ name: bound, binding }) => binding >= FIRST_OPTION || OPTIONS_BEFORE.has(bound))
    .map((option) => argumentOf(kernel, option.name));
  fail(
    'limit',
    caller,
    `${name} needs ${storage.length} storage buffers with ${options.join(', ')}, but this device binds at most ${maxStorageBuffers}. Ask for maxStorageBuffersPerShaderStage, or use requestDevice().`,
  );
}

/** The argument that a buffer is of. */
function argumentOf({ mods = [] }: Kernel, binding: string): string {
  for (const { kind, names } of mods) if (names.has(binding)) return `${kind}.tensors.${names.get(binding)!}`;
  return binding.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
}
