// norm_x: what is normalised is x.

@group(0) @binding(3) var<storage, read> x: array<vec4f>;

fn x_quad(row: u32, quad: u32) -> vec4f {
  return x[row * N_QUADS + quad];
}

fn x_row(row: u32) -> u32 {
  return row;
}
