// out_rows: writes rows of the output, four neighbouring dims at a time, and their lse.
//
// Variants:
//   OUT_F16, OUT_BF16   how out is stored; with OUT_HALVES; none: f32
//   OUT_CONVERTED       the device converts to f16; with OUT_F16
//   OUT_BOUNDED         out is within its range; with OUT_CONVERTED
//   OUT_WIDE            rows allow writes of four elements at once; else element by element
//   OUT_OCTETS          rows are written by eight halves at once; with OUT_WIDE and OUT_CONVERTED
//   PADDED              they may end before the tile that they come from, see matrix_loads; with OUT_OCTETS

import package::shared::elements::MINUS_INFINITY;
import package::shared::scores::LN_2;
@if(OUT_F16)  import package::shared::elements::f16_bits as out_bits;
@if(OUT_BF16) import package::shared::elements::bf16_bits as out_bits;

@if(OUT_WIDE && !OUT_HALVES)  @group(0) @binding(7) var<storage, read_write> out: array<vec4u>;
@if(OUT_WIDE && OUT_HALVES && !OUT_OCTETS) @group(0) @binding(7) var<storage, read_write> out: array<vec2u>;
@if(OUT_OCTETS)               @group(0) @binding(7) var<storage, read_write> out: array<vec4u>;
@if(!OUT_WIDE && !OUT_HALVES) @group(0) @binding(7) var<storage, read_write> out: array<u32>;
@if(!OUT_WIDE && OUT_HALVES)  @group(0) @binding(7) var<storage, read_write> out: array<atomic<u32>>;
@group(0) @binding(8) var<storage, read_write> lse: array<u32>;   // the bits of f32

// Writes dims dim .. dim + 3 of the row at `row`, or those of them that the row has.
@if(!OUT_OCTETS) fn write_quad(row: u32, dim: u32, head_dim: u32, value: vec4f) {
  if (dim >= head_dim) { return; }
  @if(OUT_WIDE && !OUT_HALVES) out[(row + dim) / 4u] = bitcast<vec4u>(value);
  @if(OUT_WIDE && OUT_HALVES)  out[(row + dim) / 4u] = halves_of_quad(value);
  @if(!OUT_WIDE) {
    for (var i = 0u; i < 4u; i++) {
      if (dim + i < head_dim) { write_element(row + dim + i, value[i]); }
    }
  }
}

// Writes dims dim .. dim + 7 of the row at `row`, if it has them.
@if(OUT_OCTETS) fn write_halves(row: u32, dim: u32, head_dim: u32, low: vec4f, high: vec4f) {
  @if(PADDED) if (dim >= head_dim) { return; }
  out[(row + dim) / 8u] = vec4u(halves_of_quad(low), halves_of_quad(high));
}

@if(OUT_HALVES) fn halves_of_quad(value: vec4f) -> vec2u {
  @if(OUT_BOUNDED) return bitcast<vec2u>(vec4<f16>(value));
  // What is too large for f16 a driver may round towards zero. Infinity it keeps.
  @if(OUT_CONVERTED && !OUT_BOUNDED) {
    let infinity = bitcast<vec4f>((bitcast<vec4u>(value) & vec4u(0x80000000u)) | vec4u(0x7f800000u));
    return bitcast<vec2u>(vec4<f16>(select(value, infinity, abs(value) >= vec4f(65520))));
  }
  @if(!OUT_CONVERTED) return vec2u(out_bits(value.x) | (out_bits(value.y) << 16u), out_bits(value.z) | (out_bits(value.w) << 16u));
}

@if(!OUT_WIDE && !OUT_HALVES) fn write_element(at: u32, value: f32) {
  out[at] = bitcast<u32>(value);
}

// The other half of the word may belong to another row or lie outside the tensor: each half is set by atomics, which
// leave it as it is.
@if(!OUT_WIDE && OUT_HALVES) fn write_element(at: u32, value: f32) {
  let shift = at % 2u * 16u;
  atomicAnd(&out[at / 2u], 0xffff0000u >> shift);
  atomicOr(&out[at / 2u], out_bits(value) << shift);
}

// Writes the natural log of weights that sum to total · 2^maximum.
fn write_lse(at: u32, maximum: f32, total: f32) {
  lse[at] = select(MINUS_INFINITY, bitcast<u32>((maximum + log2(total)) * LN_2), total > 0.0);
}

// The same for weights that sum to total · e^maximum.
fn write_natural_lse(at: u32, maximum: f32, total: f32) {
  lse[at] = select(MINUS_INFINITY, bitcast<u32>(maximum + log2(total) * LN_2), total > 0.0);
}

// Writes both numbers, to be merged on: where scores are huge, a single number cannot tell how parts weigh.
fn write_sums(at: u32, maximum: f32, total: f32) {
  lse[at] = bitcast<u32>(maximum);
  lse[at + 1u] = bitcast<u32>(total);
}
