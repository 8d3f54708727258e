// sample_scan: reads the logits once, and finds the best token of each slice of the vocabulary.
//
//   in   rows      [rows]                    Row
//   in   logits    [rows, row_stride]        f32
//   in   seen      [rows, seen_words]        see sample_mark
//   out  partials  [rows, n_slices]            Partial
//
// A workgroup has SLICE_QUADS quads of one row, of which a lane has every WG_SIZE-th, four in flight. Greedy rows keep
// the token of the largest x, others that of the largest x + noise, and all of them the largest x and the sum for the
// softmax:
//   logit_max = max(logit)      logit_sum = sum(exp(logit - logit_max))
// A slice is one invocation's quads joined in their order, then halves of the lanes, so sums are the same each time.
//
// Stages: 1 the quads of a lane   2 the lanes

const SLICE_QUADS = 2048u;

const IN_FLIGHT = 4u;
const STEP_QUADS = IN_FLIGHT * WG_SIZE;

@group(0) @binding(4) var<storage, read_write> partials: array<Partial>;

var<workgroup> of_lanes: array<Partial, WG_SIZE>;

@compute @workgroup_size(WG_SIZE)
fn sample_scan(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row_index = group.y;
  let place = place_of(row_index);
  var partial = no_partial();
  for (var step = 0u; step < SLICE_QUADS / STEP_QUADS; step++) {
    let i = group.x * SLICE_QUADS + step * STEP_QUADS + lane;
    if (i >= place.n_quads) { break; }
    let bits0 = quad_at(place, i);
    let bits1 = quad_at(place, i + WG_SIZE);
    let bits2 = quad_at(place, i + 2u * WG_SIZE);
    let bits3 = quad_at(place, i + 3u * WG_SIZE);
    partial = with_quad(partial, row_index, tokens_of(row_index, place, i, bits0));
    partial = with_quad(partial, row_index, tokens_of(row_index, place, i + WG_SIZE, bits1));
    partial = with_quad(partial, row_index, tokens_of(row_index, place, i + 2u * WG_SIZE, bits2));
    partial = with_quad(partial, row_index, tokens_of(row_index, place, i + 3u * WG_SIZE, bits3));
  }

  of_lanes[lane] = partial;
  for (var level = 1u; level <= 8u; level++) {
    workgroupBarrier();
    let half = WG_SIZE >> level;
    if (lane < half) { of_lanes[lane] = merge_partials(of_lanes[lane], of_lanes[lane + half]); }
  }
  if (lane == 0u) { partials[row_index * shape.n_slices + group.x] = of_lanes[0]; }
}

fn with_quad(before: Partial, row_index: u32, tokens: Tokens) -> Partial {
  let alive = tokens.keys != vec4u(0u);
  let scores = select(vec4f(LOWEST), scores_of(rows[row_index], tokens), alive);
  var after = before;
  for (var c = 0u; c < 4u; c++) {
    // Ids of a lane ascend, so of equal scores the first stays.
    if (scores[c] > after.score) {
      after.score = scores[c];
      after.token = tokens.ids[c];
    }
  }
  after.top = max(before.top, largest(select(vec4f(LOWEST), tokens.x, alive)));
  after.logit_max = max(before.logit_max, largest(select(vec4f(LOWEST), tokens.logits, alive)));
  let weights = select(vec4f(0.0), exp_below4(tokens.logits - vec4f(after.logit_max)), alive);
  after.logit_sum = before.logit_sum * exp_below(before.logit_max - after.logit_max) + dot(weights, vec4f(1.0));
  return after;
}

fn largest(v: vec4f) -> f32 {
  return max(max(v.x, v.y), max(v.z, v.w));
}
