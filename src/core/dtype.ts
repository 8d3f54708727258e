/**
 * Element type of a tensor. `f16` and `bf16` need no device feature, since kernels read them as packed words. `i8`, `i4` and
 * `e4m3` are formats of a KV cache; shape, strides and offset of an `i4` tensor count elements, of which a byte holds two.
 */
export type DType = FloatDType | 'i32' | 'u32' | QuantisedDType;

/** The types that queries, keys, values and outputs may have. */
export type FloatDType = 'f32' | 'f16' | 'bf16';

/** The types that a KV cache may have besides: a number times a scale, which other tensors hold. */
export type QuantisedDType = 'i8' | 'i4' | 'e4m3';

/** The types that a KV cache may have. */
export type KvDType = FloatDType | QuantisedDType;

export const FLOATS = ['f32', 'f16', 'bf16'] as const;
export const INTS = ['i32', 'u32'] as const;
export const QUANTISED = ['i8', 'i4', 'e4m3'] as const;
export const KV_DTYPES = [...FLOATS, ...QUANTISED] as const;

const BYTES: Readonly<Record<DType, number>> = {
  f32: 4,
  f16: 2,
  bf16: 2,
  i32: 4,
  u32: 4,
  i8: 1,
  i4: 0.5,
  e4m3: 1,
};

/** Returns how many bytes an element of a type takes: half of one for `i4`. */
export function bytesPerElement(dtype: DType): number {
  return BYTES[dtype];
}

export function isDType(value: unknown): value is DType {
  return typeof value === 'string' && Object.hasOwn(BYTES, value);
}

export function isQuantised(dtype: DType): dtype is QuantisedDType {
  return (QUANTISED as readonly DType[]).includes(dtype);
}

/** Whether each head of each token in a cache of this type has scales: i8 and i4. */
export function hasScales(dtype: DType): boolean {
  return dtype === 'i8' || dtype === 'i4';
}

/** An f32, and its bits in the same memory. Every JavaScript platform with WebGPU is little-endian. */
const f32 = new Float32Array(1);
const f32Word = /* @__PURE__ */ wordsOf(f32);

/** The quiet NaN of each type: every NaN is stored as this one. */
const NAN_F16 = 0x7e00;
const NAN_BF16 = 0x7fc0;

/** Returns `x` rounded to `dtype`: to nearest, ties to even, overflow to infinity, once from f64. */
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

/** Returns the 16 bits of `x` as IEEE binary16. Every NaN becomes 0x7e00. */
export function toF16Bits(x: number): number {
  return f16OfWord(oddWord(x));
}

/** Returns the 16 bits of `x` as bfloat16. Every NaN becomes 0x7fc0. */
export function toBf16Bits(x: number): number {
  return bf16OfWord(oddWord(x));
}

/** Returns the value of an IEEE binary16. */
export function fromF16Bits(bits: number): number {
  f32Word[0] = wordOfF16(bits);
  return f32[0]!;
}

/** Returns the value of a bfloat16. */
export function fromBf16Bits(bits: number): number {
  f32Word[0] = bits << 16;
  return f32[0]!;
}

/**
 * Returns the bits of `x` in f32, rounded to odd: truncated, with the last bit set if anything was lost. Rounding the
 * result to fewer bits gives what one rounding of `x` gives, since the last bit prevents a false tie.
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

/** Returns numbers as they are stored: f32 in a `Float32Array`, f16 and bf16 as bits in a `Uint16Array`. */
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

/** Returns stored numbers as f32, which holds every f16 and bf16 exactly. The array is always a new one. */
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
