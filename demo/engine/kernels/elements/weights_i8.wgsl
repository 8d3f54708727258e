// weights_i8: a word of 16 bytes has 16 weights, stored plus 128. A group of 32 inputs has an f16 scale.
//
// A byte b becomes a number without a conversion, which some GPUs do at a quarter of the rate: among the lower bits of
// 2^23 it makes 2^23 + b, eight bits higher among those of 2^15 it makes 2^15 + b. The difference is exact.

const WORD_QUADS = 4u;
const SCALED = true;

fn weight_quad(word: vec4u, quad: u32) -> vec4f {
  let four = word[quad];
  let pairs = vec4u(four, four, four >> 16u, four >> 16u) & vec4u(0xffu, 0xff00u, 0xffu, 0xff00u);
  return bitcast<vec4f>(pairs | vec4u(0x4b000000u, 0x47000000u, 0x4b000000u, 0x47000000u))
    - vec4f(8388736.0, 32896.0, 8388736.0, 32896.0);
}

fn weight_scale(row: u32, group: u32) -> f32 {
  return stored_scale(row, group);
}
