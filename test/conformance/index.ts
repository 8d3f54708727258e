import type { GpuCase } from '../support/gpuCase.js';
import { conformanceCases, type SuiteName } from './cases.js';

type Suites = Readonly<Record<string, readonly GpuCase[]>>;

/** Cells with every pair of values: `varlen-pairs`, ... */
export const everyPair: Suites = suitesOf('pairs', 2);

/** Cells with every value, for lanes that compile slowly: `varlen-values`, ... */
export const everyValue: Suites = suitesOf('values', 1);

function suitesOf(what: string, strength: 1 | 2): Suites {
  const names: readonly SuiteName[] = ['varlen', 'kvCache', 'merge'];
  return Object.fromEntries(names.map((name) => [`${name}-${what}`, conformanceCases(name, strength)]));
}
