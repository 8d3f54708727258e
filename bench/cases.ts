import type { CaseOptions } from './caseOptions.js';
import { DECODE_SHAPES, decodeCases, type DecodeCase } from './decode/shapes.js';
import { PREFILL_SHAPES, prefillCases, type PrefillCase } from './prefill/shapes.js';

/** One line of the benchmark: a shape, perhaps scaled down. */
export type BenchCase = PrefillCase | DecodeCase;

export const SHAPES = [...PREFILL_SHAPES, ...DECODE_SHAPES];

/** What the options ask for, in the order of `SHAPES`. */
export function benchCases(options: CaseOptions): BenchCase[] {
  return [...prefillCases(options), ...decodeCases(options)];
}

export function caseName(benchCase: BenchCase): string {
  return benchCase.kind === 'prefill' ? `${benchCase.shape} ${benchCase.length}` : benchCase.shape;
}

/** As `32/8×128`: query heads, kv heads, head size. */
export function headsOf({ nHeads, nKvHeads, headDim }: BenchCase): string {
  return `${nHeads}/${nKvHeads}×${headDim}`;
}

/** Tokens of a prefill; sequences × keys of a decode step. */
export function lengthOf(benchCase: BenchCase): string {
  if (benchCase.kind === 'prefill') return String(benchCase.length);
  const { keys } = benchCase;
  const most = Math.max(...keys);
  return `${keys.length} × ${keys.every((n) => n === most) ? '' : '≤ '}${most}`;
}
