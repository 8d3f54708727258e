// dense_masks: what a call says about each pair of a row and a key: a bit whether the row sees the key, and a number that is
// added to its score. Both are read for four neighbouring keys at a time, the first a multiple of four.
//
// Variants:
//   MASK                   a bit for each key, 32 in a word
//   BIAS                   a number for each key; with BIAS_F16 or BIAS_BF16 (BIAS_HALVES) packed halves, else f32
//   BIAS_WIDE              rows allow reads of four numbers; else they are read one by one

import package::shared::scores::{LOG2_E, MASKED};

@if(MASK) @group(0) @binding(11) var<storage, read> mask: array<u32>;
@if(BIAS && BIAS_WIDE && BIAS_HALVES)  @group(0) @binding(12) var<storage, read> bias: array<vec2u>;
@if(BIAS && BIAS_WIDE && !BIAS_HALVES) @group(0) @binding(12) var<storage, read> bias: array<vec4u>;
@if(BIAS && !BIAS_WIDE)                @group(0) @binding(12) var<storage, read> bias: array<u32>;

// The bits of four keys, the lowest four of what is returned. Of keys that the sequence does not have, they are those of some
// other key.
@if(MASK) fn mask_bits(row: u32, key: u32, k_len: u32) -> u32 {
  return mask[row + min(key, max(k_len, 1u) - 1u) / 32u] >> (key % 32u);
}

@if(MASK) fn are_set(bits: u32) -> vec4<bool> {
  return (vec4u(bits) & vec4u(1, 2, 4, 8)) != vec4u();
}

// What is added to the scores of four keys, in base 2; MASKED for those that it hides. -inf is recognised by its bits, since
// arithmetic must not meet it. Keys that the sequence does not have may get anything, NaN included.
@if(BIAS) fn bias_of(row: u32, key: u32, k_len: u32) -> vec4f {
  let last = max(k_len, 1u) - 1u;
  @if(BIAS_WIDE) {
    let at = (row + min(key, last / 4u * 4u)) / 4u;
    @if(BIAS_HALVES)  return bias_of_halves(bias[at]);
    @if(!BIAS_HALVES) return bias_of_bits(bias[at]);
  }
  @if(!BIAS_WIDE) {
    let at = vec4u(row) + min(vec4u(key) + vec4u(0, 1, 2, 3), vec4u(last));
    @if(!BIAS_HALVES) return bias_of_bits(vec4u(bias[at.x], bias[at.y], bias[at.z], bias[at.w]));
    @if(BIAS_HALVES) {
      let words = vec4u(bias[at.x / 2u], bias[at.y / 2u], bias[at.z / 2u], bias[at.w / 2u]);
      let halves = (words >> (at % 2u * 16u)) & vec4u(0xffff);
      return bias_of_halves(halves.xz | (halves.yw << vec2u(16)));
    }
  }
}

// Scores with what is added to them. A key that a bias hides may hold anything, NaN included.
@if(BIAS) fn biased(s: vec4f, added: vec4f) -> vec4f {
  return select(s + added, vec4f(MASKED), added == vec4f(MASKED));
}

// Beyond the last number that is not below -1e30, which f32 itself does not have, to -inf.
@if(BIAS && !BIAS_F16) const HIDING_BITS = 0xf149f2c9u;
@if(BIAS && !BIAS_F16) const MINUS_INFINITY_BITS = 0xff800000u;

@if(BIAS && !BIAS_F16) fn bias_of_bits(bits: vec4u) -> vec4f {
  let hides = (bits > vec4u(HIDING_BITS)) & (bits <= vec4u(MINUS_INFINITY_BITS));
  return select(bitcast<vec4f>(select(bits, vec4u(), hides)) * LOG2_E, vec4f(MASKED), hides);
}

@if(BIAS_BF16) fn bias_of_halves(words: vec2u) -> vec4f {
  return bias_of_bits(vec4u(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
}

@if(BIAS_F16) fn bias_of_halves(words: vec2u) -> vec4f {
  let halves = vec4u(words.x & 0xffffu, words.x >> 16u, words.y & 0xffffu, words.y >> 16u);
  let hides = halves == vec4u(0xfc00);
  let finite = select(halves, vec4u(), hides);
  let numbers = vec4f(unpack2x16float(finite.x | (finite.y << 16u)), unpack2x16float(finite.z | (finite.w << 16u)));
  return select(numbers * LOG2_E, vec4f(MASKED), hides);
}
