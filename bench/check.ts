import type { FloatDType } from '../src/core/dtype.js';
import type { Check, RivalName } from './results.js';

export type Reals = Float32Array | Float64Array;

/** The biggest difference to be allowed, as a share of the biggest output or of 1: roundings of the type, no more. */
const ALLOWED: Readonly<Record<FloatDType, number>> = { f32: 2e-5, f16: 3e-3, bf16: 1e-2 };

/** @throws Error that says where the two differ by more than is allowed */
export function checkAgainstRival(rival: RivalName, out: Reals, expected: Reals, dtype: FloatDType): Check {
  return compare({ against: rival, out, expected, dtype, firstIndex: 0 });
}

/** Some rows of an output, as the reference gives them. */
export interface ExpectedRows {
  readonly expected: Reals;
  /** Of the first of these outputs in the whole. */
  readonly firstIndex: number;
}

/**
 * Compare a part of an output, as much of it as the reference can compute in little time.
 *
 * @throws Error that says where the two differ by more than is allowed
 */
export function checkAgainstReference(out: Reals, rows: readonly ExpectedRows[], dtype: FloatDType): Check {
  const checks = rows.map(({ expected, firstIndex }) =>
    compare({
      against: 'reference',
      out: out.subarray(firstIndex, firstIndex + expected.length),
      expected,
      dtype,
      firstIndex,
    }),
  );
  return checks.reduce((worst, check) => (check.maxDifference > worst.maxDifference ? check : worst));
}

/** The first, the middle and the last of so many, each once. */
export function fewOf(n: number): number[] {
  return [...new Set([0, Math.floor(n / 2), n - 1])];
}

interface CompareArgs extends ExpectedRows {
  readonly against: Check['against'];
  readonly out: Reals;
  readonly dtype: FloatDType;
}

function compare({ against, out, expected, dtype, firstIndex }: CompareArgs): Check {
  let maxDifference = 0;
  let worst = 0;
  let largest = 1;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(out[i]! - expected[i]!);
    largest = Math.max(largest, Math.abs(expected[i]!));
    // So written, NaN is worse than anything.
    if (difference <= maxDifference) continue;
    maxDifference = difference;
    worst = i;
    if (Number.isNaN(difference)) break;
  }
  const allowed = ALLOWED[dtype] * largest;
  if (!(maxDifference <= allowed)) {
    throw new Error(
      `pageflash and ${against} disagree: at element ${firstIndex + worst} they have ${out[worst]} and ${expected[worst]}; in ${dtype} they may differ by ${allowed.toPrecision(2)}.`,
    );
  }
  return { against, maxDifference, allowed };
}
