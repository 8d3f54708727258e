import {
  conformanceCases,
  conformanceSuites,
  SELECTIONS,
  type SelectionName,
  type SuiteName,
} from '../conformance/cases.js';
import type { GpuCase } from './gpuCase.js';

const modules = import.meta.glob<{ cases: readonly GpuCase[] }>('../*/*.gpu.ts', { eager: true });

/** Every GPU case by the name of its file: `adapter.gpu.ts` is the suite `adapter`. */
export const suites: Readonly<Record<string, readonly GpuCase[]>> = Object.fromEntries(
  Object.entries(modules).map(([path, { cases }]) => [
    path.slice(path.lastIndexOf('/') + 1, -'.gpu.ts'.length),
    cases,
  ]),
);

/** The suites of the conformance: `varlen-pairs`, `varlen-values`, ... */
const conformance = new Map<string, () => readonly GpuCase[]>(
  (Object.keys(conformanceSuites) as SuiteName[]).flatMap((name) =>
    (Object.keys(SELECTIONS) as SelectionName[]).map(
      (selection) => [`${name}-${selection}`, () => conformanceCases(name, selection)] as const,
    ),
  ),
);

/** The cases of a suite, one of the conformance included. */
export function casesOf(suite: string): readonly GpuCase[] {
  const cases = suites[suite] ?? conformance.get(suite)?.();
  if (cases) return cases;
  const names = [...Object.keys(suites), ...conformance.keys()];
  throw new Error(`There is no suite ${suite}, only ${names.join(', ')}.`);
}
