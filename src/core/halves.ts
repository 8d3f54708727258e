import type { FloatDType } from './dtype.js';

/** One f32 seen as its bits (every JavaScript platform with WebGPU is little-endian). */
const f32 = new Float32Array(1);
const f32Word = new Uint32Array(f32.buffer);

/** The quiet NaN of each type, as which every NaN is stored. */
const NAN_F16 = 0x7e00;
const NAN_BF16 = 0x7fc0;

/** The value that `x` has once stored as `dtype`: nearest, ties to even, overflow to infinity. One rounding from f64. */
export function roundTo(dtype: FloatDType, x: number): number {
  switch (dtype) {
    case 'f32':
      return Math.fround(x);
    case 'f16':
      return fromF16Bits(toF16Bits(x));
    case 'bf16':
      return fromBf16Bits(toBf16Bits(x));
  }
}

/** The 16 bits of `x` as IEEE binary16. Every NaN becomes 0x7e00. */
export function toF16Bits(x: number): number {
  return f16OfWord(oddWord(x));
}

/** The 16 bits of `x` as bfloat16. Every NaN becomes 0x7fc0. */
export function toBf16Bits(x: number): number {
  return bf16OfWord(oddWord(x));
}

export function fromF16Bits(bits: number): number {
  f32Word[0] = wordOfF16(bits);
  return f32[0]!;
}

export function fromBf16Bits(bits: number): number {
  f32Word[0] = bits << 16;
  return f32[0]!;
}

/**
 * The bits of `x` in f32, rounded to odd: cut off, with the last bit set if anything was lost. What is rounded to fewer
 * bits from there on comes out as if it had been rounded once, since a tie can no longer be one by accident.
 */
function oddWord(x: number): number {
  f32[0] = x;
  const nearest = f32[0]!;
  const word = f32Word[0]!;
  if (nearest === x) return word;
  return (Math.abs(nearest) > Math.abs(x) ? word - 1 : word) | 1;
}

/** An f32 rounded to f16, both as bits. */
function f16OfWord(word: number): number {
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  // From 2^16 on.
  if (magnitude >= 0x47800000) return magnitude > 0x7f800000 ? NAN_F16 : sign | 0x7c00;
  // From 2^-14 on: the exponent's bias goes from 127 to 15, the fraction from 23 bits to 10. A carry may give infinity.
  if (magnitude >= 0x38800000)
    return sign | (((magnitude + 0xfff + ((magnitude >>> 13) & 1)) >>> 13) - (112 << 10));
  // Up to half of the smallest number.
  if (magnitude <= 0x33000000) return sign;
  // Between, the bits count steps of 2^-24.
  const shift = 126 - (magnitude >>> 23);
  const fraction = (magnitude & 0x7fffff) | 0x800000;
  return sign | ((fraction + (1 << (shift - 1)) - 1 + ((fraction >>> shift) & 1)) >>> shift);
}

/** An f32 rounded to bf16, both as bits. */
function bf16OfWord(word: number): number {
  if ((word & 0x7fffffff) > 0x7f800000) return NAN_BF16;
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}

/** An f16 as f32, both as bits. */
function wordOfF16(bits: number): number {
  const sign = (bits & 0x8000) << 16;
  const magnitude = bits & 0x7fff;
  if (magnitude >= 0x7c00) return sign | 0x7f800000 | ((magnitude & 0x03ff) << 13);
  if (magnitude >= 0x0400) return sign | ((magnitude << 13) + (112 << 23));
  if (magnitude === 0) return sign;
  // 31 − clz32 is the highest bit, which f32 does not store.
  const highest = 31 - Math.clz32(magnitude);
  return sign | ((highest + 103) << 23) | ((magnitude << (23 - highest)) & 0x7fffff);
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
  if (dtype === 'f32') return new Float32Array(values);
  const bits = new Uint16Array(values.length);
  // Most weights are f32, where bits become bits.
  const words = values instanceof Float32Array ? wordsOf(values) : undefined;
  const toBits = dtype === 'f16' ? toF16Bits : toBf16Bits;
  if (!words) for (let i = 0; i < bits.length; i++) bits[i] = toBits(values[i]!);
  else if (dtype === 'f16') for (let i = 0; i < bits.length; i++) bits[i] = f16OfWord(words[i]!);
  else for (let i = 0; i < bits.length; i++) bits[i] = bf16OfWord(words[i]!);
  return bits;
}

/** Stored numbers as f32, which holds every f16 and bf16 exactly. Always a new array. */
export function decode(dtype: FloatDType, stored: Float32Array | Uint16Array): Float32Array<ArrayBuffer> {
  const values = new Float32Array(stored.length);
  if (dtype === 'f32') {
    values.set(stored);
    return values;
  }
  const words = wordsOf(values);
  if (dtype === 'f16') for (let i = 0; i < words.length; i++) words[i] = wordOfF16(stored[i]!);
  else for (let i = 0; i < words.length; i++) words[i] = stored[i]! << 16;
  return values;
}

function wordsOf({ buffer, byteOffset, length }: Float32Array): Uint32Array {
  return new Uint32Array(buffer, byteOffset, length);
}
