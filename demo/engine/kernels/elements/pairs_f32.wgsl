
// Pairs of f32.

@group(0) @binding(2) var<storage, read_write> qkv: array<vec2f>;

fn load_pair(index: u32) -> vec2f {
  return qkv[index];
}

fn store_pair(index: u32, pair: vec2f) {
  qkv[index] = pair;
}
