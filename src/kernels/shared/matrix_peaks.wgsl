// matrix_peaks: powers of two by which operands of attn_matrix are multiplied on their way into the tiles, and the peaks, the
// largest magnitudes, that decide them.
//
// bf16, turned queries in f32 and i4, codes times scales, have the range of f32, tiles of f16 do not: with SCALED such an operand
// is multiplied by a power of two, one for all that the workgroup has seen of it, which follows its peak. What is below 2^-35
// of the peak is lost. All but bf16 is rounded to f16 then, unless it is split (matrix_tiles).
//
// Variants:
//   those of matrix_loads
//   SCALED      operands of f16 tiles are scaled: with Q_SCALED queries, with KV_SCALED keys and values
//   F16_TILES   see matrix_tiles
//   CHECKS_VALUES   see matrix_hidden
//   HIDES       hidden keys may hold anything, see matrix_hidden: what is not finite has a magnitude, too, but sets no peak

import package::shared::attention::largest_of;
import package::shared::matrix_loads::{Loaded, octet_of, scale_of_codes};
import package::shared::octets::Octet;
@if(HIDES) import package::shared::octets::largest_bits;

@if(SCALED) var<workgroup> peaks: array<atomic<u32>, 4>;  // bits of the largest magnitude of q, k and v so far

// By what queries, keys and values are multiplied on their way into tiles: powers of two, 1 without SCALED.
struct Scales {
  q: f32,
  k: f32,
  v: f32,
}

// The most that an element of a tile may be: a peak has 16 times its own size left.
@if(SCALED) const ROOM = 32768.0;
@if(SCALED) const Q_PEAK = 0u;
@if(SCALED) const K_PEAK = 1u;
@if(SCALED) const V_PEAK = 2u;

@if(SCALED) fn peak_of(which: u32) -> f32 {
  return bitcast<f32>(atomicLoad(&peaks[which]));
}

// The power of two that takes a peak to some 2^11, below which f16 has 35 binades. What is tiny throughout stays so.
@if(SCALED) fn scale_for(peak: f32) -> f32 {
  let exponent = max(bitcast<u32>(peak) >> 23u, 27u);
  return bitcast<f32>((265u - exponent) << 23u);
}

// With HIDES, that of what is not finite is the largest of all.
@if(SCALED || CHECKS_VALUES) fn magnitude_of(octet: Octet) -> f32 {
  @if(HIDES)  return bitcast<f32>(min(largest_bits(octet), BEYOND_BITS));
  @if(!HIDES) return largest_of(max(abs(octet.low), abs(octet.high)));
}

@if(HIDES) const BEYOND_BITS = 0x7f7fffffu;
@if(HIDES) const BEYOND = bitcast<f32>(BEYOND_BITS);
// The most that a value of a tile may be where none is scaled.
@if(CHECKS_VALUES && !KV_SCALED && F16_TILES)  const LARGEST = 65504.0;
@if(CHECKS_VALUES && !KV_SCALED && !F16_TILES) const LARGEST = 3.4e38;

// The largest magnitude of what is finite.
@if(SCALED && HIDES) fn peak_of_octet(octet: Octet) -> f32 {
  return max(finite_of(octet.low), finite_of(octet.high));
}

@if(SCALED && HIDES) fn finite_of(x: vec4f) -> f32 {
  let bits = bitcast<vec4u>(x) & vec4u(0x7fffffff);
  return largest_of(bitcast<vec4f>(select(vec4u(), bits, bits < vec4u(0x7f800000))));
}

// No code of i4 is larger than this.
@if(KV_I4) const LARGEST_CODE = 8.0;

// That of an octet of keys or values, of i4 the most that one may have with its scale.
@if(KV_SCALED) fn magnitude_of_loaded(loaded: Loaded) -> f32 {
  @if(!KV_I4)         return magnitude_of(octet_of(loaded, 1.0));
  @if(KV_I4 && HIDES) return bitcast<f32>(min(bitcast<u32>(LARGEST_CODE * scale_of_codes(loaded)) & 0x7fffffffu, BEYOND_BITS));
  @if(KV_I4 && !HIDES) return LARGEST_CODE * abs(scale_of_codes(loaded));
}

// The same of what is finite.
@if(KV_SCALED && HIDES) fn peak_of_loaded(loaded: Loaded) -> f32 {
  @if(!KV_I4) return peak_of_octet(octet_of(loaded, 1.0));
  @if(KV_I4)  return LARGEST_CODE * finite_of(vec4f(scale_of_codes(loaded)));
}
