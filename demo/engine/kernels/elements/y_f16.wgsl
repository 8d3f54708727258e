// y_f16: two neighbouring outputs in a word. Rows are whole words.

@group(0) @binding(5) var<storage, read_write> y: array<u32>;

fn write_pair(at: u32, pair: vec2f, has_second: bool) {
  y[at / 2u] = f16_bits(pair.x) | (f16_bits(pair.y) << 16u);
}
