// weights_bf16: a word of 16 bytes has eight weights, each the upper half of an f32.

const WORD_QUADS = 2u;
const SCALED = false;

fn weight_quad(word: vec4u, quad: u32) -> vec4f {
  let halves = select(word.xy, word.zw, quad == 1u);
  return bitcast<vec4f>(vec4u(halves.x << 16u, halves.x & 0xffff0000u, halves.y << 16u, halves.y & 0xffff0000u));
}

fn weight_scale(row: u32, group: u32) -> f32 {
  return 1.0;
}
