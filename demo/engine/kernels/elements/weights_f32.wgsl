// weights_f32: a word of 16 bytes has four weights.

const WORD_QUADS = 1u;
const SCALED = false;

fn weight_quad(word: vec4u, quad: u32) -> vec4f {
  return bitcast<vec4f>(word);
}

fn weight_scale(row: u32, group: u32) -> f32 {
  return 1.0;
}
