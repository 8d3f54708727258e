import { bytesPerElement, isQuantised, roundTo, type DType, type QuantisedDType } from './dtype.js';

// The quantised formats of a KV cache: how the numbers of a head become codes and scales, and codes bytes.
//
//   value = code · scale
//
//   i8    code −127 … 127, a byte; one scale for each head, f32 or f16
//   i4    code −8 … 7, stored as code + 8, the first of two in the low half of a byte; a scale for 32 neighbours, f32 or f16
//   e4m3  code an 8-bit float, ±2⁻⁹ … ±448, without infinities; the scale is given, f32

/** How heads are turned before they are quantised: by a Hadamard matrix. */
export type KvRotation = (typeof KV_ROTATIONS)[number];

export const KV_ROTATIONS = ['hadamard'] as const;

/** The types of the scales of i8 and i4. */
export type ScaleDType = 'f32' | 'f16';

export const SCALE_DTYPES = ['f32', 'f16'] as const;

/** What a cache has unless it is told: half the bytes, and a scale is rounded by less than a code. */
export const DEFAULT_SCALE_DTYPE = 'f16' satisfies ScaleDType;

/** Neighbouring elements of an i4 head that share a scale. */
export const I4_GROUP = 32;

/** Returns how many scales a head has in a cache; 0 for e4m3, where heads of all tokens share them. */
export function scalesPerHead(dtype: QuantisedDType, headDim: number): number {
  if (dtype === 'e4m3') return 0;
  return dtype === 'i8' ? 1 : headDim / I4_GROUP;
}

/** Returns the shape of a cache's scales; for e4m3 that of one scale for each kv head. */
export function scaleShape(dtype: QuantisedDType, cacheShape: readonly number[]): number[] {
  const heads = cacheShape.slice(0, -1);
  if (dtype === 'e4m3') return heads.slice(-1);
  return dtype === 'i8' ? heads : [...heads, cacheShape.at(-1)! / I4_GROUP];
}

/** The bytes of the scales of a head in a cache; 0 where it has none. */
export function scaleBytesPerHead(dtype: DType, scaleDType: ScaleDType, headDim: number): number {
  return isQuantised(dtype) ? scalesPerHead(dtype, headDim) * bytesPerElement(scaleDType) : 0;
}

/** A head in a quantised format: element i is `codes[i]` times its scale. */
export interface QuantisedHead {
  readonly codes: readonly number[];
  /** One for i8, one for each 32 elements for i4, the given one for e4m3. */
  readonly scales: readonly number[];
}

/** How scales come about: rounded to a type for i8 and i4, given for e4m3. */
export interface Scaling {
  /** Of i8 and i4. Default f32 */
  readonly scaleDType?: ScaleDType | undefined;
  /** Of e4m3. Default 1 */
  readonly scale?: number | undefined;
}

/**
 * Quantises the elements of a head as `attnWithKvCache` does for new tokens. A NaN counts as 0 in i8 and i4; infinities
 * and what overflows take the largest scale.
 */
export function quantiseHead(
  dtype: QuantisedDType,
  values: ArrayLike<number>,
  { scaleDType = 'f32', scale = 1 }: Scaling = {},
): QuantisedHead {
  const x = Array.from(values, Math.fround);
  if (dtype === 'e4m3') return { codes: x.map((value) => roundToE4m3(value / scale)), scales: [scale] };
  const numbers = x.map((value) => (Number.isNaN(value) ? 0 : value));
  if (dtype === 'i8') {
    const largest = numbers.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const step = roundScale(largest / 127, scaleDType);
    return { codes: numbers.map((value) => i8Code(value, step)), scales: [step] };
  }
  const codes: number[] = [];
  const scales: number[] = [];
  for (let from = 0; from < numbers.length; from += I4_GROUP) {
    const group = numbers.slice(from, from + I4_GROUP);
    // The first of those of the largest magnitude.
    const extreme = group.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
    const step = roundScale(extreme / -8, scaleDType);
    scales.push(step);
    codes.push(...group.map((value) => i4Code(value, step)));
  }
  return { codes, scales };
}

/** Returns the numbers that a quantised head stands for. */
export function dequantiseHead({ codes, scales }: QuantisedHead): number[] {
  const perScale = codes.length / scales.length;
  return codes.map((code, i) => code * scales[Math.floor(i / perScale)]!);
}

const LARGEST_SCALE: Readonly<Record<ScaleDType, number>> = { f32: (2 - 2 ** -23) * 2 ** 127, f16: 65504 };

function roundScale(scale: number, dtype: ScaleDType): number {
  const rounded = roundTo(dtype, scale);
  // Devices may take subnormal f32 for 0.
  if (Math.abs(rounded) < 2 ** -126) return 0;
  return Number.isFinite(rounded) ? rounded : Math.sign(rounded) * LARGEST_SCALE[dtype];
}

function i8Code(x: number, scale: number): number {
  // An integer has no −0.
  return scale === 0 ? 0 : Math.max(-127, Math.min(127, roundHalfEven(x / scale))) + 0;
}

function i4Code(x: number, scale: number): number {
  return scale === 0 ? 0 : Math.max(0, Math.min(15, Math.floor(x / scale + 8.5))) - 8;
}

/** Returns the bytes that store codes, from the first code on. */
export function packCodes(dtype: QuantisedDType, codes: ArrayLike<number>): Uint8Array<ArrayBuffer> {
  if (dtype === 'i8') return new Uint8Array(Int8Array.from(codes).buffer);
  if (dtype === 'e4m3') return Uint8Array.from(codes, toE4m3Bits);
  const bytes = new Uint8Array(Math.ceil(codes.length / 2));
  for (let i = 0; i < codes.length; i++) bytes[i >> 1]! |= (codes[i]! + 8) << (4 * (i % 2));
  return bytes;
}

/** Returns the codes that bytes store. */
export function unpackCodes(dtype: QuantisedDType, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  if (dtype === 'i8') return Float32Array.from(bytes, (byte) => (byte << 24) >> 24);
  if (dtype === 'e4m3') return Float32Array.from(bytes, fromE4m3Bits);
  const codes = new Float32Array(2 * bytes.length);
  for (let i = 0; i < codes.length; i++) codes[i] = ((bytes[i >> 1]! >> (4 * (i % 2))) & 15) - 8;
  return codes;
}

/** The largest number of e4m3, 448, and its NaN: there are no infinities. */
const E4M3_MAX = 0x7e;
const E4M3_NAN = 0x7f;

/** Returns the 8 bits of `x` as e4m3fn: to nearest, ties to even. What is larger than 448 becomes 448, ±∞ too. */
export function toE4m3Bits(x: number): number {
  if (Number.isNaN(x)) return E4M3_NAN;
  const sign = x < 0 || Object.is(x, -0) ? 0x80 : 0;
  const magnitude = Math.min(Math.abs(x), 448);
  // Numbers below 2⁻⁶ are counted in steps of 2⁻⁹, and those from 2ᵉ on in steps of 2ᵉ⁻³. A carry gives the next exponent.
  let exponent = 8;
  let power = 2 ** exponent;
  for (; exponent > -6 && magnitude < power; exponent--) power /= 2;
  const steps = roundHalfEven((8 * magnitude) / power);
  return sign | Math.min(((exponent + 6) << 3) + steps, E4M3_MAX);
}

/** Returns the value of an e4m3fn. */
export function fromE4m3Bits(bits: number): number {
  const magnitude = bits & 0x7f;
  if (magnitude === E4M3_NAN) return Number.NaN;
  const exponent = Math.max(magnitude >> 3, 1) - 7;
  const steps = magnitude >= 8 ? 8 + (magnitude & 7) : magnitude;
  return (bits & 0x80 ? -1 : 1) * steps * 2 ** (exponent - 3);
}

function roundToE4m3(x: number): number {
  return fromE4m3Bits(toE4m3Bits(x));
}

function roundHalfEven(x: number): number {
  const nearest = Math.round(x);
  return nearest - x === 0.5 && nearest % 2 !== 0 ? nearest - 1 : nearest;
}

/**
 * Multiplies a head by the Hadamard matrix of its size n, a power of two, in place: H[i][j] = (−1)^popcount(i & j) / √n. Twice
 * is the head again.
 */
export function turnHead(head: Float64Array): void {
  const n = head.length;
  for (let bit = 1; bit < n; bit *= 2)
    for (let i = 0; i < n; i++) {
      if (i & bit) continue;
      const [x, y] = [head[i]!, head[i + bit]!];
      head[i] = x + y;
      head[i + bit] = x - y;
    }
  for (let i = 0; i < n; i++) head[i]! /= Math.sqrt(n);
}

/** Whether there is a Hadamard matrix of that size. */
export function canTurn(headDim: number): boolean {
  return headDim > 0 && (headDim & (headDim - 1)) === 0;
}
