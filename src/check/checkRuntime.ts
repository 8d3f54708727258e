import { describe, fail } from '../core/errors.js';
import type { Runtime } from '../runtime/runtime.js';

/** Checks that a call has a runtime that it can use. */
export function checkRuntime(caller: string, runtime: Runtime): void {
  if (typeof runtime?.assertAlive !== 'function')
    fail('argument', caller, `runtime must be what createRuntime gives, not ${describe(runtime)}.`);
  runtime.assertAlive(caller);
}
