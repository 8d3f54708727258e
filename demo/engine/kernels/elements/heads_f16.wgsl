// heads_f16: quads of f16, read and written in place.

@group(0) @binding(3) var<storage, read_write> qkv: array<vec2u>;

fn read_quad(at: u32) -> vec4f {
  let halves = qkv[at];
  return vec4f(unpack2x16float(halves.x), unpack2x16float(halves.y));
}

fn write_quad(at: u32, four: vec4f) {
  qkv[at] = vec2u(
    f16_bits(four.x) | (f16_bits(four.y) << 16u),
    f16_bits(four.z) | (f16_bits(four.w) << 16u),
  );
}
