import { roundTo } from '../core/dtype.js';

/** The precision of a computation: how products are summed and how a result is rounded when it is stored. */
export interface Arithmetic {
  /** Σ_d a[d] · b[bOffset + d] over the length of a. */
  readonly dot: (a: Float64Array, b: Float64Array, bOffset: number) => number;
  /** sum[d] += weight · values[offset + d] over the length of sum. */
  readonly addScaled: (sum: Float64Array, weight: number, values: Float64Array, offset: number) => void;
  /** The rounding of a stored tensor: scores, softcap steps, probabilities, outputs. */
  readonly store: (x: number) => number;
}

/** f64 throughout, or that of a program which sums in f32 and keeps every tensor in a 16-bit type. */
export function arithmeticOf(storage: 'f16' | 'bf16' | undefined): Arithmetic {
  if (storage === undefined) return { dot, addScaled, store: (x) => x };
  return { dot: dotF32, addScaled: addScaledF32, store: (x) => roundTo(storage, x) };
}

// The dot products keep four running sums, or each addition would wait for the one before. Hardware that multiplies
// matrices keeps several as well, so this order is as good a model of it as any.

function dot(a: Float64Array, b: Float64Array, bOffset: number): number {
  let sum0 = 0;
  let sum1 = 0;
  let sum2 = 0;
  let sum3 = 0;
  let d = 0;
  for (; d + 3 < a.length; d += 4) {
    const from = bOffset + d;
    sum0 += a[d]! * b[from]!;
    sum1 += a[d + 1]! * b[from + 1]!;
    sum2 += a[d + 2]! * b[from + 2]!;
    sum3 += a[d + 3]! * b[from + 3]!;
  }
  for (; d < a.length; d++) sum0 += a[d]! * b[bOffset + d]!;
  return sum0 + sum1 + (sum2 + sum3);
}

function dotF32(a: Float64Array, b: Float64Array, bOffset: number): number {
  const { fround } = Math;
  let sum0 = 0;
  let sum1 = 0;
  let sum2 = 0;
  let sum3 = 0;
  let d = 0;
  for (; d + 3 < a.length; d += 4) {
    const from = bOffset + d;
    sum0 = fround(sum0 + a[d]! * b[from]!);
    sum1 = fround(sum1 + a[d + 1]! * b[from + 1]!);
    sum2 = fround(sum2 + a[d + 2]! * b[from + 2]!);
    sum3 = fround(sum3 + a[d + 3]! * b[from + 3]!);
  }
  for (; d < a.length; d++) sum0 = fround(sum0 + a[d]! * b[bOffset + d]!);
  return fround(fround(sum0 + sum1) + fround(sum2 + sum3));
}

function addScaled(sum: Float64Array, weight: number, values: Float64Array, offset: number): void {
  for (let d = 0; d < sum.length; d++) sum[d]! += weight * values[offset + d]!;
}

function addScaledF32(sum: Float64Array, weight: number, values: Float64Array, offset: number): void {
  for (let d = 0; d < sum.length; d++) sum[d] = Math.fround(sum[d]! + weight * values[offset + d]!);
}
