
// Pairs of f16, one in a word.

@group(0) @binding(2) var<storage, read_write> qkv: array<u32>;

fn load_pair(index: u32) -> vec2f {
  return unpack2x16float(qkv[index]);
}

fn store_pair(index: u32, pair: vec2f) {
  qkv[index] = pack2x16float(clamp(pair, vec2f(-65504.0), vec2f(65504.0)));
}
