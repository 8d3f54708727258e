// linear_vector: y = x · weightsᵀ for few rows of x, so that each weight is read once.
//
//   in   row_count  u32                        rows of x
//   in   x          [row_count, n_in]          f32 | f16    elements/x_*
//   in   weights    [n_out, n_groups · 32]     elements/weights_*, in words; 0 beyond n_in
//   in   scales     [n_out, n_groups]          f16, where weights are i8 or i4
//   in   bias       [y_columns]                f32, with HAS_BIAS
//   out  y          [row_count, y_columns]     f32 | f16    elements/y_*; columns from first_column
//
// A workgroup has TEAMS teams, each with four neighbouring outputs and ROWS rows. Lane l of the LANES of a team has the
// words l, l + LANES, ... of each of the four rows of weights, so that neighbours read neighbouring words. It loads WORDS
// of each before it uses the first, to have 64 or 128 bytes in flight, and a word meets all rows of x while it is in registers.
// The order of a sum depends on LANES, not on ROWS or WORDS: a row gets the same sums alone and beside others.
//
// Stages: 1 products   2 sum of the lanes   3 write

override LANES: u32;
override TEAMS: u32;
override ROWS: u32;   // 1, 2, 4 or 8
override WORDS: u32;  // 1, 2 or 4
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
@group(0) @binding(3) var<storage, read> weights: array<Word>;
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
  let rows = Rows(
    min(vec4u(first_row) + vec4u(0u, 1u, 2u, 3u), vec4u(last_row)),
    min(vec4u(first_row) + vec4u(4u, 5u, 6u, 7u), vec4u(last_row)),
  );

  // 1 products
  var s = Sums();
  for (var step = 0u; step < MANY; step++) {
    let first = step * WORDS * LANES;
    if (first >= n_words()) { break; }
    let at = first + lane;
    let w0 = load_words(out, at);
    var w1: Words;
    var w2: Words;
    var w3: Words;
    if (WORDS > 1u) { w1 = load_words(out, at + LANES); }
    if (WORDS > 2u) {
      w2 = load_words(out, at + 2u * LANES);
      w3 = load_words(out, at + 3u * LANES);
    }
    s = add_words(s, w0, rows, at);
    if (WORDS > 1u && first + LANES < n_words()) { s = add_words(s, w1, rows, at + LANES); }
    if (WORDS > 2u) {
      if (first + 2u * LANES < n_words()) { s = add_words(s, w2, rows, at + 2u * LANES); }
      if (first + 3u * LANES < n_words()) { s = add_words(s, w3, rows, at + 3u * LANES); }
    }
  }

  // 2 sum of the lanes: of RADIX lanes in each of PARTS, then of the parts. Lanes share these sums by row and part.
  sums[local] = s.s0;
  if (ROWS > 1u) { sums[WG_SIZE + local] = s.s1; }
  if (ROWS > 2u) {
    sums[2u * WG_SIZE + local] = s.s2;
    sums[3u * WG_SIZE + local] = s.s3;
  }
  if (ROWS > 4u) {
    sums[4u * WG_SIZE + local] = s.s4;
    sums[5u * WG_SIZE + local] = s.s5;
    sums[6u * WG_SIZE + local] = s.s6;
    sums[7u * WG_SIZE + local] = s.s7;
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

fn n_words() -> u32 {
  return shape.n_groups * 8u / WORD_QUADS;
}

// Of four rows of weights: their words at the same place, and the scales of these.
struct Words {
  a: Word,
  b: Word,
  c: Word,
  d: Word,
  scales: vec4f,
}

// Beyond the end of the rows, where some lanes come to, weights or scales are 0.
fn load_words(out: vec4u, at: u32) -> Words {
  let i = out * n_words() + min(at, n_words() - 1u);
  let a = weights[i.x];
  let b = weights[i.y];
  let c = weights[i.z];
  let d = weights[i.w];
  let is_inside = WORDS * LANES == 1u || at < n_words();
  if (!SCALED) {
    return Words(
      select(Word(), a, is_inside), select(Word(), b, is_inside),
      select(Word(), c, is_inside), select(Word(), d, is_inside), vec4f(),
    );
  }
  let group = min(at * WORD_QUADS / 8u, shape.n_groups - 1u);
  let four = vec4f(
    weight_scale(out.x, group), weight_scale(out.y, group), weight_scale(out.z, group), weight_scale(out.w, group),
  );
  return Words(a, b, c, d, select(vec4f(), four, is_inside));
}

// The rows of x.
struct Rows {
  low: vec4u,
  high: vec4u,
}

// Of each row of x, the sums of four outputs.
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

fn add_words(before: Sums, words: Words, rows: Rows, at: u32) -> Sums {
  let word = min(at, n_words() - 1u);
  let step = quad_step(word);
  var quad = first_quad(word);
  // Where weights have scales, the sum of a word is apart until it is multiplied by them.
  var s = before;
  if (SCALED) { s = Sums(); }
  // Words are turned rather than indexed, as compilers may keep in memory what has a variable index.
  var four = words;
  for (var part = 0u; part < WORD_QUADS / PART_QUADS; part++) {
    for (var place = 0u; place < PART_QUADS; place++) {
      let w = transposed(Four(
        part_quad(first_part(four.a), place), part_quad(first_part(four.b), place),
        part_quad(first_part(four.c), place), part_quad(first_part(four.d), place),
      ));
      s.s0 = add_products(s.s0, x_quad(rows.low.x, quad), w);
      if (ROWS > 1u) { s.s1 = add_products(s.s1, x_quad(rows.low.y, quad), w); }
      if (ROWS > 2u) {
        s.s2 = add_products(s.s2, x_quad(rows.low.z, quad), w);
        s.s3 = add_products(s.s3, x_quad(rows.low.w, quad), w);
      }
      if (ROWS > 4u) {
        s.s4 = add_products(s.s4, x_quad(rows.high.x, quad), w);
        s.s5 = add_products(s.s5, x_quad(rows.high.y, quad), w);
        s.s6 = add_products(s.s6, x_quad(rows.high.z, quad), w);
        s.s7 = add_products(s.s7, x_quad(rows.high.w, quad), w);
      }
      quad += step;
    }
    four = Words(turned(four.a), turned(four.b), turned(four.c), turned(four.d), four.scales);
  }
  if (!SCALED) { return s; }
  return Sums(
    fma(words.scales, s.s0, before.s0), fma(words.scales, s.s1, before.s1),
    fma(words.scales, s.s2, before.s2), fma(words.scales, s.s3, before.s3),
    fma(words.scales, s.s4, before.s4), fma(words.scales, s.s5, before.s5),
    fma(words.scales, s.s6, before.s6), fma(words.scales, s.s7, before.s7),
  );
}
