// weights_f16: a word of 16 bytes has eight weights. No device feature is needed.

const WORD_QUADS = 2u;
const SCALED = false;

fn weight_quad(word: vec4u, quad: u32) -> vec4f {
  let halves = select(word.xy, word.zw, quad == 1u);
  return vec4f(unpack2x16float(halves.x), unpack2x16float(halves.y));
}

fn weight_scale(row: u32, group: u32) -> f32 {
  return 1.0;
}
