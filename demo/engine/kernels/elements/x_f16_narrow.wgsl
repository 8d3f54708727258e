// x_f16_narrow: quads of activations, where rows may begin and end within a quad or a word.

@group(0) @binding(2) var<storage, read> x: array<u32>;

fn x_quad(row: u32, quad: u32) -> vec4f {
  let i = quad * 4u;
  return vec4f(x_at(row, i), x_at(row, i + 1u), x_at(row, i + 2u), x_at(row, i + 3u));
}

fn x_at(row: u32, i: u32) -> f32 {
  if (i >= shape.n_in) { return 0.0; }
  let at = row * shape.n_in + i;
  let pair = unpack2x16float(x[at / 2u]);
  return select(pair.x, pair.y, at % 2u == 1u);
}
