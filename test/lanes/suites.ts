import { everyPair, everyValue } from '../conformance/index.js';
import { suites as gpuSuites } from '../gpu/index.js';
import type { GpuCase } from '../support/gpuCase.js';

/** Everything that a lane can run, by name. */
export const suites: Readonly<Record<string, readonly GpuCase[]>> = {
  ...gpuSuites,
  ...everyPair,
  ...everyValue,
};
