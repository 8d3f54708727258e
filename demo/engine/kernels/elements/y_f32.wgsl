// y_f32: two neighbouring outputs, of which the second may lie beyond the end.

@group(0) @binding(5) var<storage, read_write> y: array<f32>;

// y += instead of y =.
override ADDS = false;

fn write_pair(at: u32, pair: vec2f, has_second: bool) {
  if (ADDS) {
    y[at] += pair.x;
    if (has_second) { y[at + 1u] += pair.y; }
  } else {
    y[at] = pair.x;
    if (has_second) { y[at + 1u] = pair.y; }
  }
}
