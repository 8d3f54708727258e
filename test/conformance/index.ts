import type { GpuCase } from '../platforms/gpuCase.js';
import { conformanceCases, type SuiteName } from './cases.js';

type Suites = Readonly<Record<string, readonly GpuCase[]>>;

/** Cells with every pair of values: `varlen-pairs`, ... It takes seconds to choose them, so that is done once asked. */
export const everyPair = once(() => suitesOf('pairs'));

/** Cells with every value, for lanes that compile slowly: `varlen-values`, ... */
export const everyValue = once(() => suitesOf('values'));

function once<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= make());
}

function suitesOf(selection: 'pairs' | 'values'): Suites {
  const names: readonly SuiteName[] = ['varlen', 'kvCache', 'merge'];
  return Object.fromEntries(names.map((name) => [`${name}-${selection}`, conformanceCases(name, selection)]));
}
