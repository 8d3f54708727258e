import type { FloatDType } from './dtype.js';

/**
 * A binary floating-point format narrower than f64: numbers ±m · 2^(e − fractionBits) with m of
 * fractionBits + 1 bits and e ≥ minExponent. Below 2^minExponent the spacing stays the same (subnormals).
 */
interface Format {
  readonly fractionBits: number;
  readonly minExponent: number;
  readonly largest: number;
}

const F16: Format = { fractionBits: 10, minExponent: -14, largest: 65504 };
const BF16: Format = { fractionBits: 7, minExponent: -126, largest: (2 - 2 ** -7) * 2 ** 127 };

const F64_FRACTION_BITS = 52;
const F64_BIAS = 1023;

/** One f64 seen as its low and high 32-bit words (every JavaScript platform with WebGPU is little-endian). */
const f64 = new Float64Array(1);
const f64Words = new Int32Array(f64.buffer);
const f32 = new Float32Array(1);
const f32Word = new Uint32Array(f32.buffer);

/** The nearest number of the format, ties to even, overflow to infinity. One rounding from f64. */
function roundToFormat(format: Format, x: number): number {
  if (!(Math.abs(x) < 2 * format.largest)) return x * Infinity; // NaN stays NaN
  f64[0] = x;
  const high = f64Words[1]!;
  const exponent = Math.max(((high >>> 20) & 0x7ff) - F64_BIAS, format.minExponent);
  // Next to 1.5 · 2^n the spacing of f64 is 2^(n − 52): adding and taking away rounds to that spacing.
  f64Words[0] = 0;
  f64Words[1] = ((exponent - format.fractionBits + F64_FRACTION_BITS + F64_BIAS) << 20) | 0x80000;
  const magic = f64[0]!;
  const magnitude = Math.abs(x) + magic - magic;
  const rounded = magnitude > format.largest ? Infinity : magnitude;
  return high < 0 ? -rounded : rounded;
}

/** The value that `x` has once stored as `dtype`: nearest, ties to even, overflow to infinity. */
export function roundTo(dtype: FloatDType, x: number): number {
  switch (dtype) {
    case 'f32':
      return Math.fround(x);
    case 'f16':
      return roundToFormat(F16, x);
    case 'bf16':
      return roundToFormat(BF16, x);
  }
}

/** The 16 bits of `x` as IEEE binary16. Every NaN becomes 0x7e00. */
export function toF16Bits(x: number): number {
  if (x !== x) return 0x7e00;
  f32[0] = roundToFormat(F16, x);
  const word = f32Word[0]!;
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude >= 0x7f800000) return sign | 0x7c00;
  // 0x38800000 is 2^-14, the smallest normal f16: below it the bits count steps of 2^-24.
  if (magnitude < 0x38800000) return sign | (Math.abs(f32[0]) * 2 ** 24);
  // The exponent's bias goes from 127 to 15, the fraction from 23 bits to 10.
  return sign | ((magnitude >>> 13) - (112 << 10));
}

/** The 16 bits of `x` as bfloat16. Every NaN becomes 0x7fc0. */
export function toBf16Bits(x: number): number {
  if (x !== x) return 0x7fc0;
  f32[0] = roundToFormat(BF16, x);
  return f32Word[0]! >>> 16;
}

export function fromF16Bits(bits: number): number {
  const magnitude = bits & 0x7fff;
  if (magnitude < 0x0400) f32[0] = magnitude * 2 ** -24;
  else if (magnitude < 0x7c00) f32Word[0] = (magnitude << 13) + (112 << 23);
  else f32Word[0] = 0x7f800000 | ((magnitude & 0x03ff) << 13);
  return bits & 0x8000 ? -f32[0]! : f32[0]!;
}

export function fromBf16Bits(bits: number): number {
  f32Word[0] = bits << 16;
  return f32[0]!;
}

/** Numbers as they are stored: f32 in a `Float32Array`, f16 and bf16 as bits in a `Uint16Array`. */
export function encode(dtype: 'f32', values: ArrayLike<number>): Float32Array<ArrayBuffer>;
export function encode(dtype: 'f16' | 'bf16', values: ArrayLike<number>): Uint16Array<ArrayBuffer>;
export function encode(
  dtype: FloatDType,
  values: ArrayLike<number>,
): Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;
export function encode(
  dtype: FloatDType,
  values: ArrayLike<number>,
): Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer> {
  if (dtype === 'f32') return Float32Array.from(values);
  const toBits = dtype === 'f16' ? toF16Bits : toBf16Bits;
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) bits[i] = toBits(values[i]!);
  return bits;
}

/** Stored numbers as f32, which holds every f16 and bf16 exactly. Always a new array. */
export function decode(dtype: FloatDType, stored: Float32Array | Uint16Array): Float32Array<ArrayBuffer> {
  if (dtype === 'f32') return Float32Array.from(stored);
  const fromBits = dtype === 'f16' ? fromF16Bits : fromBf16Bits;
  const values = new Float32Array(stored.length);
  for (let i = 0; i < values.length; i++) values[i] = fromBits(stored[i]!);
  return values;
}
