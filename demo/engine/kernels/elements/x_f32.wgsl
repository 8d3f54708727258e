// x_f32: quads of activations, where rows are whole quads.

@group(0) @binding(2) var<storage, read> x: array<vec4f>;

// Whether weights go on beyond the end of a row of x, where 0 takes part.
override HAS_TAIL = false;

fn x_quad(row: u32, quad: u32) -> vec4f {
  let n_quads = shape.n_in / 4u;
  if (HAS_TAIL && quad >= n_quads) { return vec4f(); }
  return x[row * n_quads + quad];
}
