import type { GpuCase } from './gpuCase.js';

const modules = import.meta.glob<{ cases: readonly GpuCase[] }>('../*/*.gpu.ts', { eager: true });

/** Every GPU case by the name of its file: `adapter.gpu.ts` is the suite `adapter`. */
export const suites: Readonly<Record<string, readonly GpuCase[]>> = Object.fromEntries(
  Object.entries(modules).map(([path, { cases }]) => [
    path.slice(path.lastIndexOf('/') + 1, -'.gpu.ts'.length),
    cases,
  ]),
);
