// matrix_codes: bytes of a quantised cache as they lie in tiles of f16, which hold their codes exactly.
//
// The bytes of a word come apart two at a time, every other one. So those of a quad lie in the order 0 2 1 3, here and in
// queries, whose products with keys have no order, and results have to be put back into theirs.
//
// Variants:
//   KV_I8, KV_E4M3   see octets
//   PAIRED           tiles are f16, and keys and values are such bytes

@if(KV_E4M3) import package::shared::elements::{halves_from_e4m3, E4M3_UNIT};

// A quad in the order of tiles; and one of tiles in that of a head.
fn paired(quad: vec4f) -> vec4f {
  @if(PAIRED)  return quad.xzyw;
  @if(!PAIRED) return quad;
}

@if(PAIRED) fn halves_of_bytes(words: vec2u) -> vec4u {
  return vec4u(pairs_of_bytes(words.x), pairs_of_bytes(words.y));
}

// Codes with signs. In the fraction of 2^10 the lowest bit counts 1, so that what was offset by 128 is 1152 too large.
@if(PAIRED && KV_I8) fn pairs_of_bytes(word: u32) -> vec2u {
  let bytes = word ^ 0x80808080u;
  let added = (vec2u(bytes, bytes >> 8u) & vec2u(0x00ff00ffu)) | vec2u(0x64006400u);
  return bitcast<vec2u>(bitcast<vec4<f16>>(added) - vec4<f16>(1152.0h));
}

@if(PAIRED && KV_E4M3) fn pairs_of_bytes(word: u32) -> vec2u {
  let units = vec2u(halves_from_e4m3(word << 8u), halves_from_e4m3(word));
  return bitcast<vec2u>(bitcast<vec4<f16>>(units) * vec4<f16>(E4M3_UNIT));
}
