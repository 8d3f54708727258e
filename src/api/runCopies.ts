import { copyPages, type PoolGroup } from '../kernels/copyPages.js';
import { checkDispatches } from '../plan/limits.js';
import type { Runtime } from '../runtime/runtime.js';

/** Copy the pages of checked pairs: recorded into the caller's pass, or submitted at once. */
export function runCopies(
  caller: string,
  runtime: Runtime,
  groups: readonly PoolGroup[],
  pairs: Uint32Array,
  pass: GPUComputePassEncoder | undefined,
): void {
  const { maxWorkgroupsPerDimension } = runtime.traits;
  const dispatches = copyPages({ groups, pairs, maxWorkgroupsPerDimension });
  checkDispatches(caller, dispatches, runtime.traits);
  if (dispatches.length === 0) return;
  runtime.watch(caller, () => {
    if (pass) runtime.record(dispatches, pass);
    else runtime.submit(dispatches);
  });
}
