// weights_f16: a word of 8 bytes has four weights. No device feature is needed.

alias Word = vec2u;

fn part_quad(part: Part, place: u32) -> vec4f {
  return vec4f(unpack2x16float(part.x), unpack2x16float(part.y));
}
