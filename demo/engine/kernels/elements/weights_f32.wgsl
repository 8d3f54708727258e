// weights_f32: a word of 16 bytes has four weights.

alias Word = vec4u;

fn part_quad(part: Part, place: u32) -> vec4f {
  return bitcast<vec4f>(part);
}
