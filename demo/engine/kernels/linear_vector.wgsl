// linear_vector: y = x · weightsᵀ for few rows of x, so that each weight is read once.
//
//   in   row_count  u32                        rows of x
//   in   x          [row_count, n_in]          f32 | f16    elements/x_*
//   in   weights    [n_out, n_groups · 32]     elements/weights_*, in words of 16 bytes; 0 beyond n_in
//   in   scales     [n_out, n_groups]          f16, where weights are i8 or i4
//   in   bias       [y_columns]                f32, with HAS_BIAS
//   out  y          [row_count, y_columns]     f32 | f16    elements/y_*; columns from first_column
//
// A workgroup has TEAMS teams, each with four neighbouring outputs and ROWS rows. Lane l of the LANES of a team has the
// words l, l + LANES, ... of each of the four rows of weights, so that neighbours read neighbouring words, and four loads
// of 16 bytes are in flight for each invocation. A word meets all rows of x while it is in registers. The order of a sum depends on LANES, not on ROWS: a row gets the same sums alone and beside
// others.
//
// Stages: 1 products   2 sum of the lanes   3 write

override LANES: u32;
override TEAMS: u32;
override ROWS: u32;   // 1, 2, 4 or 8
override HAS_BIAS = false;

override WG_SIZE = LANES * TEAMS;
override PARTS = max(LANES / 8u, 1u);
override RADIX = LANES / PARTS;

const MANY = 0x7fffffffu;

struct Shape {
  n_in: u32,
  n_groups: u32,      // groups of 32 inputs
  n_out: u32,
  first_column: u32,
  y_columns: u32,
}

@group(0) @binding(0) var<uniform> row_count: u32;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(3) var<storage, read> weights: array<vec4u>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;

var<workgroup> sums: array<vec4f, WG_SIZE * ROWS>;

@compute @workgroup_size(WG_SIZE)
fn linear_vector(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = local % LANES;
  let first_row = id.x * ROWS;
  let first_out = (id.y * TEAMS + local / LANES) * 4u;
  let last_row = row_count - 1u;
  let last_out = shape.n_out - 1u;
  // What is beyond the end is the last one again, and not written.
  let out = min(vec4u(first_out) + vec4u(0u, 1u, 2u, 3u), vec4u(last_out));
  let low = min(vec4u(first_row) + vec4u(0u, 1u, 2u, 3u), vec4u(last_row));
  let high = min(vec4u(first_row) + vec4u(4u, 5u, 6u, 7u), vec4u(last_row));

  // 1 products: s0 .. s7 are those of the rows, of four outputs each
  let n_words = shape.n_groups * (8u / WORD_QUADS);
  let word_row = out * n_words;
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  var s4 = vec4f();
  var s5 = vec4f();
  var s6 = vec4f();
  var s7 = vec4f();
  for (var step = 0u; step < MANY; step++) {
    let at = step * LANES + lane;
    if (at >= n_words) { break; }
    let a = weights[word_row.x + at];
    let b = weights[word_row.y + at];
    let c = weights[word_row.z + at];
    let d = weights[word_row.w + at];
    // Where weights have scales, the sum of a word is apart until it is multiplied by them.
    let before = Sums(s0, s1, s2, s3, s4, s5, s6, s7);
    if (SCALED) {
      s0 = vec4f();
      s1 = vec4f();
      s2 = vec4f();
      s3 = vec4f();
      s4 = vec4f();
      s5 = vec4f();
      s6 = vec4f();
      s7 = vec4f();
    }
    for (var q = 0u; q < WORD_QUADS; q++) {
      let w = transposed(Four(weight_quad(a, q), weight_quad(b, q), weight_quad(c, q), weight_quad(d, q)));
      let quad = at * WORD_QUADS + q;
      s0 = add_products(s0, x_quad(low.x, quad), w);
      if (ROWS > 1u) { s1 = add_products(s1, x_quad(low.y, quad), w); }
      if (ROWS > 2u) {
        s2 = add_products(s2, x_quad(low.z, quad), w);
        s3 = add_products(s3, x_quad(low.w, quad), w);
      }
      if (ROWS > 4u) {
        s4 = add_products(s4, x_quad(high.x, quad), w);
        s5 = add_products(s5, x_quad(high.y, quad), w);
        s6 = add_products(s6, x_quad(high.z, quad), w);
        s7 = add_products(s7, x_quad(high.w, quad), w);
      }
    }
    if (SCALED) {
      let group = at * WORD_QUADS / 8u;
      let scale = vec4f(
        weight_scale(out.x, group), weight_scale(out.y, group), weight_scale(out.z, group), weight_scale(out.w, group),
      );
      s0 = fma(scale, s0, before.s0);
      s1 = fma(scale, s1, before.s1);
      s2 = fma(scale, s2, before.s2);
      s3 = fma(scale, s3, before.s3);
      s4 = fma(scale, s4, before.s4);
      s5 = fma(scale, s5, before.s5);
      s6 = fma(scale, s6, before.s6);
      s7 = fma(scale, s7, before.s7);
    }
  }

  // 2 sum of the lanes: of RADIX lanes in each of PARTS, then of the parts. Lanes share these sums by row and part.
  sums[local] = s0;
  if (ROWS > 1u) { sums[WG_SIZE + local] = s1; }
  if (ROWS > 2u) {
    sums[2u * WG_SIZE + local] = s2;
    sums[3u * WG_SIZE + local] = s3;
  }
  if (ROWS > 4u) {
    sums[4u * WG_SIZE + local] = s4;
    sums[5u * WG_SIZE + local] = s5;
    sums[6u * WG_SIZE + local] = s6;
    sums[7u * WG_SIZE + local] = s7;
  }
  workgroupBarrier();
  let team_at = local - lane;
  for (var step = 0u; step < (ROWS * PARTS + LANES - 1u) / LANES; step++) {
    let index = step * LANES + lane;
    if (index >= ROWS * PARTS) { break; }
    let at = index / PARTS * WG_SIZE + team_at + index % PARTS;
    var sum = sums[at];
    for (var i = 1u; i < RADIX; i++) { sum += sums[at + i * PARTS]; }
    sums[at] = sum;
  }
  workgroupBarrier();

  // 3 write
  for (var step = 0u; step < (ROWS + LANES - 1u) / LANES; step++) {
    let r = step * LANES + lane;
    let row = first_row + r;
    if (r >= ROWS || row > last_row) { break; }
    let at = r * WG_SIZE + team_at;
    var sum = sums[at];
    for (var i = 1u; i < PARTS; i++) { sum += sums[at + i]; }
    write_two(row, first_out, sum.xy);
    write_two(row, first_out + 2u, sum.zw);
  }
}

struct Sums {
  s0: vec4f,
  s1: vec4f,
  s2: vec4f,
  s3: vec4f,
  s4: vec4f,
  s5: vec4f,
  s6: vec4f,
  s7: vec4f,
}

