// x_f32_narrow: quads of activations, where rows may begin and end within one.

@group(0) @binding(2) var<storage, read> x: array<f32>;

fn x_quad(row: u32, quad: u32) -> vec4f {
  let i = quad * 4u;
  return vec4f(x_at(row, i), x_at(row, i + 1u), x_at(row, i + 2u), x_at(row, i + 3u));
}

fn x_at(row: u32, i: u32) -> f32 {
  if (i >= shape.n_in) { return 0.0; }
  return x[row * shape.n_in + i];
}
