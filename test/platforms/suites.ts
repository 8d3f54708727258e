import { everyPair, everyValue } from '../conformance/index.js';
import type { GpuCase } from './gpuCase.js';

const modules = import.meta.glob<{ cases: readonly GpuCase[] }>('../*/*.gpu.ts', { eager: true });

/** Every GPU case by the name of its file: `adapter.gpu.ts` is the suite `adapter`. */
export const suites: Readonly<Record<string, readonly GpuCase[]>> = Object.fromEntries(
  Object.entries(modules).map(([path, { cases }]) => [
    path.slice(path.lastIndexOf('/') + 1, -'.gpu.ts'.length),
    cases,
  ]),
);

/** The cases of a suite, those of the conformance included: `varlen-pairs`, `varlen-values`, ... */
export function casesOf(suite: string): readonly GpuCase[] {
  const cases = suites[suite] ?? everyValue()[suite] ?? everyPair()[suite];
  if (cases) return cases;
  const names = Object.keys({ ...suites, ...everyValue(), ...everyPair() });
  throw new Error(`There is no suite ${suite}, only ${names.join(', ')}.`);
}
