import type { FloatDType } from '../../src/core/dtype.js';

// The tolerances of the CUDA libraries' own test-suites, as checks that throw. They run in a browser page as well.

type Reals = ArrayLike<number>;

interface Pair {
  readonly actual: Reals;
  readonly reference: Reals;
}

export interface CheckOutArgs extends Pair {
  /** The reference computed in the storage type; needed for f16 and bf16. */
  readonly emulated?: Reals | undefined;
  readonly dtype: FloatDType;
  readonly softcap?: number | undefined;
  /** Whether the keys came through a KV cache. */
  readonly kvCache?: boolean | undefined;
  readonly alibi?: boolean | undefined;
  /** How far scores of all keys that a row sees may be from zero, by ALiBi over keys that are all far away. Default 0. */
  readonly farthestScore?: number | undefined;
}

/**
 * With T the kernel, R the reference and P the emulation:
 *
 *     f32         max|T − R| ≤ 1e-5 · max(1, max|R|) · max(1, s / 50)
 *     f16, bf16   max|T − R| ≤ m · max|P − R| + 1e-5   and   mean|T − R| ≤ 1.5 · mean|P − R|
 *
 * m is 2; 3 with softcap or through the KV cache; 5 with ALiBi through the KV cache. s is `farthestScore`, from which f32
 * counts in steps of s · 2^-23.
 */
export function checkOut({
  actual,
  reference,
  emulated,
  dtype,
  softcap,
  kvCache,
  alibi,
  farthestScore = 0,
}: CheckOutArgs): void {
  if (dtype === 'f32') {
    const allowed = 1e-5 * Math.max(1, largestMagnitude(reference)) * Math.max(1, farthestScore / 50);
    return checkEach('out', { actual, reference }, () => allowed);
  }
  if (!emulated) throw new Error(`out in ${dtype} is judged by an emulation of ${dtype}: pass emulated.`);
  const emulation = errorOf('emulated out', { actual: emulated, reference });
  const multiple = kvCache && alibi ? 5 : kvCache || softcap ? 3 : 2;
  const allowed = multiple * emulation.max + 1e-5;
  checkEach('out', { actual, reference }, () => allowed);

  const { mean } = errorOf('out', { actual, reference });
  if (mean > 1.5 * emulation.mean)
    throw new Error(
      `out: the mean error is ${mean}, allowed are 1.5 times the emulation's ${emulation.mean}.`,
    );
}

/** 1e-4 absolute for |lse| < 100, 1e-5 relative beyond; −∞ exactly where the reference has it. */
export function checkLse(pair: Pair): void {
  checkEach('lse', pair, (want) => (Math.abs(want) < 100 ? 1e-4 : 1e-5 * Math.abs(want)));
}

/** Within a distance. */
export function checkNear(what: string, pair: Pair, distance: number): void {
  checkEach(what, pair, () => distance);
}

/** 1e-5; −∞ exactly where the reference has it. */
export function checkMerged(what: string, pair: Pair): void {
  checkEach(what, pair, () => 1e-5);
}

/**
 * Probabilities, from an lse in f32 and scores of its size: 1e-5, and 4 · 2⁻²³ · max|lse| of a probability; nothing where
 * the reference has nothing.
 */
export function checkWeights(pair: Pair, lse: Reals): void {
  const largest = largestMagnitude(Array.from(lse, (x) => (Number.isFinite(x) ? x : 0)));
  checkEach('weights', pair, (want) => (want === 0 ? 0 : 1e-5 + want * largest * 2 ** -21));
}

/** Equal bit for bit, but for NaN, which equals any NaN, as a cache may hold it in slots never written. */
export function checkSame(what: string, { actual, reference }: Pair): void {
  expectSameLength(what, { actual, reference });
  for (let i = 0; i < reference.length; i++)
    if (!Object.is(actual[i], reference[i])) throw mismatch(what, i, actual[i]!, reference[i]!, 0);
}

/**
 * Keys after a rotation: one rounding of the dtype, and before it the rounding of x cos − y sin in f32. NaN, as a
 * cache may hold it in slots never written, must be NaN in both.
 */
export function checkRotated(what: string, pair: Pair, dtype: FloatDType): void {
  const inF32 = 2 ** -22 * largestMagnitude(pair.reference);
  checkEach(what, pair, (want) => spacing(dtype, want) + inF32, Object.is);
}

/** From one number of the dtype to the next, at x. */
function spacing(dtype: FloatDType, x: number): number {
  const { fractionBits, minExponent } = FORMATS[dtype];
  return 2 ** (Math.max(Math.floor(Math.log2(Math.abs(x))), minExponent) - fractionBits);
}

const FORMATS = {
  f32: { fractionBits: 23, minExponent: -126 },
  f16: { fractionBits: 10, minExponent: -14 },
  bf16: { fractionBits: 7, minExponent: -126 },
} as const;

/**
 * Throws for the worst element whose error exceeds what its reference value allows; a NaN is worst of all. Where the
 * reference is so far off that it would allow anything, nothing but an equal value is allowed.
 */
function checkEach(
  what: string,
  { actual, reference }: Pair,
  allowedAt: (want: number) => number,
  same: (got: number, want: number) => boolean = (got, want) => got === want,
): void {
  expectSameLength(what, { actual, reference });
  let worst = -1;
  let worstExcess = 1;
  for (let i = 0; i < reference.length; i++) {
    const got = actual[i]!;
    const want = reference[i]!;
    if (same(got, want)) continue;
    const allowed = allowedAt(want);
    const excess = allowed < Infinity ? Math.abs(got - want) / allowed : NaN;
    if (excess <= worstExcess) continue;
    worst = i;
    worstExcess = excess;
    if (Number.isNaN(excess)) break;
  }
  if (worst >= 0)
    throw mismatch(what, worst, actual[worst]!, reference[worst]!, allowedAt(reference[worst]!));
}

function errorOf(what: string, { actual, reference }: Pair): { readonly max: number; readonly mean: number } {
  expectSameLength(what, { actual, reference });
  let max = 0;
  let sum = 0;
  for (let i = 0; i < reference.length; i++) {
    const error = Math.abs(actual[i]! - reference[i]!);
    if (!Number.isFinite(error))
      throw new Error(`${what}: not finite at ${i}: got ${actual[i]!}, want ${reference[i]!}.`);
    max = Math.max(max, error);
    sum += error;
  }
  return { max, mean: reference.length === 0 ? 0 : sum / reference.length };
}

function largestMagnitude(values: Reals): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) if (Math.abs(values[i]!) > largest) largest = Math.abs(values[i]!);
  return largest;
}

function expectSameLength(what: string, { actual, reference }: Pair): void {
  if (actual.length !== reference.length)
    throw new Error(`${what}: got ${actual.length} elements, want ${reference.length}.`);
}

function mismatch(what: string, index: number, got: number, want: number, allowed: number): Error {
  return new Error(
    `${what}: worst at ${index}: got ${got}, want ${want}, off by ${Math.abs(got - want)}, allowed ${allowed}.`,
  );
}
