import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch } from '../core/dispatch.js';
import { fail } from '../core/errors.js';

/** Jobs of a plan, of whatever kind: with more, making their lists would take seconds. */
const MAX_JOBS = 2 ** 22;

/** Checks how many jobs there are to list before the list is made. */
export function checkJobs(caller: string, n: number, what: string): void {
  if (n <= MAX_JOBS) return;
  fail(
    'limit',
    caller,
    `there are ${n} ${what}, but a call takes at most ${MAX_JOBS}. Pass fewer sequences, or lower maxSeqlenQ and numSplits.`,
  );
}

/** Invocations of a dispatch that kernels can tell apart. */
const MAX_INVOCATIONS = 2 ** 32;

/** Of kernels that have no constant for it. */
const USUAL_WORKGROUP = 64;

/** Checks that a device can take all of the dispatches of a call. */
export function checkDispatches(caller: string, dispatches: readonly Dispatch[], traits: DeviceTraits): void {
  const { maxWorkgroupsPerDimension, maxBindingBytes } = traits;
  for (const { kernel, spec, bindings, grid } of dispatches) {
    const [x, y] = grid;
    const workgroupSize = Number(spec['WG_SIZE'] ?? USUAL_WORKGROUP);
    if (y > maxWorkgroupsPerDimension || x * y * workgroupSize > MAX_INVOCATIONS) {
      fail(
        'limit',
        caller,
        `${kernel.name} needs ${x * y} workgroups of ${workgroupSize}, but there can be ${maxWorkgroupsPerDimension}² of them, with 2³² invocations. Do less at a time.`,
      );
    }
    for (const [name, bound] of Object.entries(bindings)) {
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
