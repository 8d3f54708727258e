import { everyPair, everyValue } from '../conformance/index.js';
import { suites } from './suites.js';
import type { GpuCase } from './gpuCase.js';

/** The cases of a suite, of all that a lane can run. */
export function casesOf(suite: string): readonly GpuCase[] {
  const cases = suites[suite] ?? everyValue()[suite] ?? everyPair()[suite];
  if (cases) return cases;
  const names = Object.keys({ ...suites, ...everyValue(), ...everyPair() });
  throw new Error(`There is no suite ${suite}, only ${names.join(', ')}.`);
}
