// weights_bf16: a word of 8 bytes has four weights, each the upper half of an f32.

alias Word = vec2u;

fn part_quad(part: Part, place: u32) -> vec4f {
  return bitcast<vec4f>(vec4u(part.x << 16u, part.x & 0xffff0000u, part.y << 16u, part.y & 0xffff0000u));
}
