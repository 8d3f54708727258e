// linear_tiled: y = x · weightsᵀ for many rows of x.
//
//   in   row_count  u32                        rows of x
//   in   x          [row_count, n_in]          f32 | f16    elements/x_*
//   in   weights    [n_out, n_groups · 32]     elements/weights_*, in words; 0 beyond n_in
//   in   scales     [n_out, n_groups]          f16, where weights are i8 or i4
//   in   bias       [y_columns]                f32, with HAS_BIAS
//   out  y          [row_count, y_columns]     f32 | f16    elements/y_*; columns from first_column
//
// A workgroup has a tile of 64 rows and 64 outputs, and walks the inputs 16 at a time, in the order in which weights are
// stored: a slice of x and of the weights, as f32, is in workgroup memory, and the next one is being loaded. The lane l of team t multiplies rows t, t + TEAMS, ... by outputs 8 l .. 8 l + 7:
// each quad that it loads from there serves 32 multiply-adds or more, and its 64 sums stay in registers. They are
// unrolled here since compilers do not do it reliably. Each sum goes through the inputs in that order.
//
// Stages, for each slice: 1 stage   2 products; then 3 write

override HAS_BIAS = false;

const LANES = 8u;
const TEAMS = 8u;
const TILE_ROWS = TEAMS * 8u;
const TILE_OUTS = LANES * 8u;
const WG_SIZE = LANES * TEAMS;

// A place more than there are rows and outputs, so that stores of one row's quads fall into different banks.
const X_LINE = TILE_ROWS + 1u;
const WEIGHT_LINE = TILE_OUTS + 1u;

const SLICE_QUADS = 4u;
const SIXTEENS = vec4u(0u, 16u, 32u, 48u);
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

// Quad after quad of the slice: those of all rows, or of all outputs, where output o is at place o % 8 · LANES + o / 8.
var<workgroup> x_tile: array<vec4f, SLICE_QUADS * X_LINE>;
var<workgroup> weight_tile: array<vec4f, SLICE_QUADS * WEIGHT_LINE>;

@compute @workgroup_size(WG_SIZE)
fn linear_tiled(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = local % LANES;
  let team = local / LANES;
  let first_row = id.x * TILE_ROWS;
  let first_out = id.y * TILE_OUTS;
  // Of row t + r · TEAMS: the sums of outputs 8 l .. 8 l + 3 in l<r>, of the next four in h<r>.
  var l0 = vec4f();
  var l1 = vec4f();
  var l2 = vec4f();
  var l3 = vec4f();
  var l4 = vec4f();
  var l5 = vec4f();
  var l6 = vec4f();
  var l7 = vec4f();
  var h0 = vec4f();
  var h1 = vec4f();
  var h2 = vec4f();
  var h3 = vec4f();
  var h4 = vec4f();
  var h5 = vec4f();
  var h6 = vec4f();
  var h7 = vec4f();

  let n_slices = shape.n_groups * (8u / SLICE_QUADS);
  var x_next = load_x(first_row, 0u, local);
  var weights_next = load_weights(first_out, 0u, local);
  for (var slice = 0u; slice < MANY; slice++) {
    if (slice >= n_slices) { break; }
    store_x(x_next, local);
    store_weights(weights_next, first_out, slice, local);
    workgroupBarrier();
    // Loads take as long as the products of a slice.
    if (slice + 1u < n_slices) {
      x_next = load_x(first_row, slice + 1u, local);
      weights_next = load_weights(first_out, slice + 1u, local);
    }
    for (var q = 0u; q < SLICE_QUADS; q++) {
      let w = q * WEIGHT_LINE + lane;
      let low = transposed(Four(
        weight_tile[w], weight_tile[w + LANES], weight_tile[w + 2u * LANES], weight_tile[w + 3u * LANES],
      ));
      let high = transposed(Four(
        weight_tile[w + 4u * LANES], weight_tile[w + 5u * LANES], weight_tile[w + 6u * LANES], weight_tile[w + 7u * LANES],
      ));
      let at = q * X_LINE + team;
      let x0 = x_tile[at];
      l0 = add_products(l0, x0, low);
      h0 = add_products(h0, x0, high);
      let x1 = x_tile[at + TEAMS];
      l1 = add_products(l1, x1, low);
      h1 = add_products(h1, x1, high);
      let x2 = x_tile[at + 2u * TEAMS];
      l2 = add_products(l2, x2, low);
      h2 = add_products(h2, x2, high);
      let x3 = x_tile[at + 3u * TEAMS];
      l3 = add_products(l3, x3, low);
      h3 = add_products(h3, x3, high);
      let x4 = x_tile[at + 4u * TEAMS];
      l4 = add_products(l4, x4, low);
      h4 = add_products(h4, x4, high);
      let x5 = x_tile[at + 5u * TEAMS];
      l5 = add_products(l5, x5, low);
      h5 = add_products(h5, x5, high);
      let x6 = x_tile[at + 6u * TEAMS];
      l6 = add_products(l6, x6, low);
      h6 = add_products(h6, x6, high);
      let x7 = x_tile[at + 7u * TEAMS];
      l7 = add_products(l7, x7, low);
      h7 = add_products(h7, x7, high);
    }
    workgroupBarrier();  // the next slice overwrites this one
  }

  let row = first_row + team;
  let out = first_out + lane * 8u;
  write_eight(row, out, l0, h0);
  write_eight(row + TEAMS, out, l1, h1);
  write_eight(row + 2u * TEAMS, out, l2, h2);
  write_eight(row + 3u * TEAMS, out, l3, h3);
  write_eight(row + 4u * TEAMS, out, l4, h4);
  write_eight(row + 5u * TEAMS, out, l5, h5);
  write_eight(row + 6u * TEAMS, out, l6, h6);
  write_eight(row + 7u * TEAMS, out, l7, h7);
}

// Of a slice, an invocation stages a quad of every 16th row and every 16th output. Those beyond the end are the last one
// again, and not written.

fn load_x(first_row: u32, slice: u32, local: u32) -> Four {
  let stored = slice * SLICE_QUADS + local % SLICE_QUADS;
  let at = stored / WORD_QUADS;
  let quad = first_quad(at) + stored % WORD_QUADS * quad_step(at);
  let rows = min(vec4u(first_row + local / SLICE_QUADS) + SIXTEENS, vec4u(row_count - 1u));
  return Four(x_quad(rows.x, quad), x_quad(rows.y, quad), x_quad(rows.z, quad), x_quad(rows.w, quad));
}

fn store_x(x: Four, local: u32) {
  let at = local % SLICE_QUADS * X_LINE + local / SLICE_QUADS;
  x_tile[at] = x.a;
  x_tile[at + 16u] = x.b;
  x_tile[at + 32u] = x.c;
  x_tile[at + 48u] = x.d;
}

// They become numbers only when they are stored, so that nothing waits for them before.
struct Words {
  a: Word,
  b: Word,
  c: Word,
  d: Word,
}

fn outs_of(first_out: u32, local: u32) -> vec4u {
  return min(vec4u(first_out + local / SLICE_QUADS) + SIXTEENS, vec4u(shape.n_out - 1u));
}

fn load_weights(first_out: u32, slice: u32, local: u32) -> Words {
  let n_words = shape.n_groups * 8u / WORD_QUADS;
  let at = outs_of(first_out, local) * n_words + (slice * SLICE_QUADS + local % SLICE_QUADS) / WORD_QUADS;
  return Words(weights[at.x], weights[at.y], weights[at.z], weights[at.w]);
}

fn store_weights(words: Words, first_out: u32, slice: u32, local: u32) {
  let stored = slice * SLICE_QUADS + local % SLICE_QUADS;
  let place = stored % WORD_QUADS;
  var four = Four(
    weight_quad(words.a, place), weight_quad(words.b, place), weight_quad(words.c, place), weight_quad(words.d, place),
  );
  if (SCALED) {
    let outs = outs_of(first_out, local);
    let group = stored / 8u;
    four.a *= weight_scale(outs.x, group);
    four.b *= weight_scale(outs.y, group);
    four.c *= weight_scale(outs.z, group);
    four.d *= weight_scale(outs.w, group);
  }
  let tile_out = local / SLICE_QUADS;
  let at = local % SLICE_QUADS * WEIGHT_LINE + tile_out % 8u * LANES + tile_out / 8u;
  weight_tile[at] = four.a;
  weight_tile[at + 2u] = four.b;
  weight_tile[at + 4u] = four.c;
  weight_tile[at + 6u] = four.d;
}

fn write_eight(row: u32, out: u32, low: vec4f, high: vec4f) {
  if (row >= row_count) { return; }
  for (var pair = 0u; pair < 4u; pair++) {
    let four = select(low, high, pair / 2u == 1u);
    write_two(row, out + pair * 2u, select(four.xy, four.zw, pair % 2u == 1u));
  }
}
