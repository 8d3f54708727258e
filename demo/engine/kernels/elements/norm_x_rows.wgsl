// norm_x_rows: what is normalised are some rows of x.

@group(0) @binding(3) var<storage, read> x: array<vec4f>;
@group(0) @binding(4) var<storage, read> rows: array<u32>;

fn x_quad(row: u32, quad: u32) -> vec4f {
  return x[row * N_QUADS + quad];
}

fn x_row(row: u32) -> u32 {
  return rows[row];
}
