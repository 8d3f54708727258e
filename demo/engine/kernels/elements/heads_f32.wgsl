// heads_f32: quads of f32, read and written in place.

@group(0) @binding(3) var<storage, read_write> qkv: array<vec4f>;

fn read_quad(at: u32) -> vec4f {
  return qkv[at];
}

fn write_quad(at: u32, four: vec4f) {
  qkv[at] = four;
}
