import type { Dispatch } from '../core/dispatch.js';
import { copyPagesDispatches, type PoolGroup } from '../kernels/copyPages.js';
import { checkDispatches } from '../plan/limits.js';
import type { Runtime } from '../runtime/runtime.js';

/** The dispatches that copy the pages of checked pairs. */
export function copyDispatches(
  caller: string,
  runtime: Runtime,
  groups: readonly PoolGroup[],
  pairs: Uint32Array,
): readonly Dispatch[] {
  const { maxWorkgroupsPerDimension } = runtime.traits;
  const dispatches = copyPagesDispatches({ groups, pairs, maxWorkgroupsPerDimension });
  checkDispatches(caller, dispatches, runtime.traits);
  return dispatches;
}

/** Make the copies: recorded into the caller's pass, or submitted at once. */
export function runCopies(
  caller: string,
  runtime: Runtime,
  dispatches: readonly Dispatch[],
  pass?: GPUComputePassEncoder,
): void {
  if (dispatches.length === 0) return;
  runtime.watch(caller, () => {
    if (pass) runtime.record(dispatches, pass);
    else runtime.submit(dispatches);
  });
}
