import type { FloatDType } from '../src/core/dtype.js';

/** What cases are made by. */
export interface CaseOptions {
  /** Whether shaders run on the CPU, where shapes are scaled down. */
  readonly software: boolean;
  readonly dtype: FloatDType;
  /** Names of shapes; none means all. */
  readonly shapes: readonly string[];
  readonly quick: boolean;
  /** Never scale. */
  readonly full: boolean;
}

/** Whether shapes have fewer heads than the models they are taken from. */
export function isScaled({ software, full }: CaseOptions): boolean {
  return software && !full;
}

/** The shapes asked for: those named; else all, or in a quick run on software those that do for it. */
export function wantedShapes<S extends { readonly name: string }>(
  all: readonly S[],
  quick: readonly string[],
  options: CaseOptions,
): readonly S[] {
  const few = options.quick && isScaled(options);
  if (options.shapes.length === 0 && !few) return all;
  const names = options.shapes.length > 0 ? options.shapes : quick;
  return all.filter(({ name }) => names.includes(name));
}

interface Heads {
  readonly nHeads: number;
  readonly nKvHeads: number;
}

/** Fewer kv heads, at least one, and as many query heads to each as before. */
export function fewerHeads({ nHeads, nKvHeads }: Heads, divisor: number): Heads {
  const fewer = Math.max(1, Math.round(nKvHeads / divisor));
  return { nHeads: (nHeads / nKvHeads) * fewer, nKvHeads: fewer };
}
