// norm_in_place: what is normalised is y.

fn x_quad(row: u32, quad: u32) -> vec4f {
  return y[row * N_QUADS + quad];
}

fn x_row(row: u32) -> u32 {
  return row;
}
