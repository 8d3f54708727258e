// weights_i4: a word of 16 bytes has 32 weights, stored plus 8: the group of inputs that has an f16 scale.
//
// Four bits n become a number without shift or conversion: n among the lower bits of 2^23 makes 2^23 + n, four bits
// higher among those of 2^19 it makes 2^19 + n, and so on. The difference is exact.

const WORD_QUADS = 8u;
const SCALED = true;

fn weight_quad(word: vec4u, quad: u32) -> vec4f {
  let four = word[quad / 2u] >> (quad % 2u * 16u);
  let nibbles = vec4u(four) & vec4u(0xfu, 0xf0u, 0xf00u, 0xf000u);
  return bitcast<vec4f>(nibbles | vec4u(0x4b000000u, 0x49000000u, 0x47000000u, 0x45000000u))
    - vec4f(8388616.0, 524296.0, 32776.0, 2056.0);
}

fn weight_scale(row: u32, group: u32) -> f32 {
  return stored_scale(row, group);
}
