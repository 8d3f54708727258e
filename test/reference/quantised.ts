import { roundTo, type FloatDType, type QuantisedDType } from '../../src/core/dtype.js';
import { I4_GROUP, quantiseHead, type ScaleDType } from '../../src/core/kvFormats.js';

/** A head as a kernel has quantised it, and the numbers that it was given. */
export interface QuantisedRow {
  readonly dtype: QuantisedDType;
  readonly codes: ArrayLike<number>;
  /** One for i8, one for each 32 elements for i4, the given one for e4m3. */
  readonly scales: ArrayLike<number>;
  readonly scaleDType?: ScaleDType;
  readonly values: ArrayLike<number>;
  /** How far a number may be off, of the largest, as after a rotation. Default 0 */
  readonly error?: number;
}

/**
 * Throws unless a head is quantised as the formats say: a scale within one step of its type, and codes which are the exact
 * quotients by the scale as it is stored, rounded; either neighbour where a quotient is within 1e-3 of a tie.
 */
export function checkQuantised(what: string, row: QuantisedRow): void {
  const { dtype, codes, scales, scaleDType = 'f32', values, error = 0 } = row;
  const largest = Array.from(values, Math.abs).reduce((a, b) => (b > a && b < Infinity ? b : a), 0);
  const fail = (sentence: string): never => {
    throw new Error(`${what}: ${sentence}`);
  };
  const want = quantiseHead(dtype, values, { scaleDType, scale: scales[0]! });
  for (let i = 0; i < scales.length; i++) {
    const [got, exact] = [scales[i]!, want.scales[i]!];
    if (dtype === 'e4m3' || got === exact) continue;
    const step = stepAt(scaleDType, exact) + Math.abs(exact) * error;
    if (!(Math.abs(got - exact) <= step)) fail(`scale ${i} is ${got}, not ${exact}.`);
    // Of two as large, either may be the largest after rounding.
  }
  for (let i = 0; i < codes.length; i++) {
    const scale = scales[dtype === 'i4' ? Math.floor(i / I4_GROUP) : 0]!;
    const allowed = codesOf(dtype, values[i]!, scale, (error * largest) / Math.abs(scale || 1));
    if (!allowed.some((code) => Object.is(code, codes[i])))
      fail(`element ${i}, ${values[i]} by ${scale}, is ${codes[i]}, not ${allowed.join(' or ')}.`);
  }
}

/** What a number may become. */
function codesOf(dtype: QuantisedDType, value: number, scale: number, off: number): number[] {
  const x = Math.fround(value);
  if (dtype === 'e4m3') {
    const quotient = x / scale;
    const near = [-1, 0, 1].map((sign) => quotient + sign * (off + Math.abs(quotient) * 2 ** -21));
    return near.map((q) => (Number.isNaN(q) ? q : quantiseHead('e4m3', [q]).codes[0]!));
  }
  if (scale === 0 || Number.isNaN(x)) return [0];
  const quotient = x / scale;
  const slack = 1e-3 + off;
  const near = [quotient - slack, quotient, quotient + slack];
  return near.map((q) => {
    if (dtype === 'i4') return Math.max(0, Math.min(15, Math.floor(q + 8.5))) - 8;
    const nearest = Math.round(q);
    const even = nearest - q === 0.5 && nearest % 2 !== 0 ? nearest - 1 : nearest;
    // No code is −0.
    return Math.max(-127, Math.min(127, even)) + 0;
  });
}

/** From one number of the type to the next. */
function stepAt(dtype: ScaleDType, x: number): number {
  const bits = dtype === 'f32' ? 23 : 10;
  const least = dtype === 'f32' ? -126 : -14;
  return 2 ** (Math.max(Math.floor(Math.log2(Math.abs(x))), least) - bits);
}

/** A cache after an append, as codes times scales, and as the reference has it. */
export interface AppendedCache {
  readonly dtype: QuantisedDType;
  readonly headDim: number;
  readonly actual: ArrayLike<number>;
  readonly reference: ArrayLike<number>;
}

/**
 * Throws unless a cache is that of the reference, but for the few codes whose quotient is close to a tie, and scales which
 * are a step off: devices divide, and rotate, to a few units in the last place. NaN, as in slots never written, must be NaN
 * in both.
 *
 * @returns whether all numbers are equal
 */
export function checkAppended(what: string, { dtype, headDim, actual, reference }: AppendedCache): boolean {
  const size = dtype === 'i4' ? I4_GROUP : headDim;
  let nEqual = 0;
  let nOff = 0;
  for (let from = 0; from < reference.length; from += size) {
    let largest = 0;
    for (let i = from; i < from + size; i++) largest = Math.max(largest, Math.abs(reference[i]!) || 0);
    for (let i = from; i < from + size; i++) {
      const [got, want] = [actual[i]!, reference[i]!];
      if (got === want || (Number.isNaN(got) && Number.isNaN(want))) {
        nEqual++;
        continue;
      }
      const off = Math.abs(got - want);
      if (off <= Math.abs(want) * 2 ** -9) continue;
      nOff++;
      const step =
        dtype === 'e4m3'
          ? Math.max(Math.abs(want) / 7, largest * 2 ** -17)
          : largest / (dtype === 'i4' ? 6 : 120);
      if (!(off <= step))
        throw new Error(`${what}: at ${i}: got ${got}, want ${want}, off by more than ${step}.`);
    }
  }
  if (nOff > 2 + reference.length / 500)
    throw new Error(`${what}: ${nOff} of ${reference.length} codes are not those of the reference.`);
  return nEqual === reference.length;
}

/** Numbers as hard as they come: outliers, zeros, tiny and huge ones, infinities, NaN. */
export const HARD_HEADS: readonly { readonly why: string; readonly head: readonly number[] }[] = [
  { why: 'zeros', head: [0, -0, 0] },
  { why: 'NaN among others', head: [NaN, 1, -3] },
  { why: 'NaN only', head: [NaN] },
  { why: 'infinities', head: [Infinity, 1, -2, -Infinity, 3e38] },
  { why: '-infinity first', head: [-Infinity, 5, Infinity] },
  { why: 'the largest f32', head: [3.4e38, -3.4e38, 1e30] },
  { why: 'beyond scales of f16', head: [1e9, -5e6, 3] },
  { why: 'subnormal scales of f16', head: [1e-5, -3e-5, 2e-5] },
  { why: 'scales of f16 that are 0', head: [1e-7, -1e-7] },
  { why: 'scales around 2^-126', head: [3e-37, -2e-37] },
  { why: 'subnormal numbers', head: [1e-40, -1e-45] },
  { why: 'two of one magnitude, the negative one first', head: [-2, 2, 1] },
  { why: 'two of one magnitude, the positive one first', head: [2, -2, 1] },
  { why: 'an outlier', head: [300, 0.1, -0.2, 1.5] },
  { why: 'numbers of e4m3', head: [448, 480, 500, -464, 2 ** -9, 2 ** -10, 3 * 2 ** -10, -(2 ** -10)] },
  { why: 'ties of e4m3', head: [17, 19, 1.0625, 1.1875, 0.0009765625, 0.0029296875] },
];

/** `head` repeated to `length` elements, as numbers of a type. */
export function repeated(head: readonly number[], length: number, dtype: FloatDType = 'f32'): Float32Array {
  return Float32Array.from({ length }, (_, i) =>
    roundTo(dtype, i < head.length ? head[i]! : head[i % head.length]! / 3),
  );
}
