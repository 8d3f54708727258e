// packed: four f16 or bf16 numbers in two words, read and written without the feature shader-f16.

fn quad_from_f16(words: vec2u) -> vec4f {
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}

fn quad_from_bf16(words: vec2u) -> vec4f {
  return bitcast<vec4f>(vec4u(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
}

fn f16_from_quad(quad: vec4f) -> vec2u {
  return vec2u(pack2x16float(quad.xy), pack2x16float(quad.zw));
}

fn bf16_from_quad(quad: vec4f) -> vec2u {
  let bits = bitcast<vec4u>(quad);
  let rounded = (bits + 0x7fffu + ((bits >> vec4u(16u)) & vec4u(1u))) >> vec4u(16u);
  return vec2u(rounded.x | (rounded.y << 16u), rounded.z | (rounded.w << 16u));
}
