// sample_pick: chooses the token of each row.
//
//   in   rows       [rows]               Row
//   in   logits     [rows, row_stride]   f32
//   in   seen       [rows, seen_words]   see sample_mark
//   in   partials   [rows, n_slices]       Partial, see sample_scan
//   out  sampled    [rows]               u32      the token; 0 if no logit is a number above -inf
//   out  log_probs  [rows]               f32      ln(softmax(logits)[token]), without penalty and temperature; then -inf
//
// One workgroup per row. For a greedy row, or one that draws among all tokens, the best token of all slices is the token.
// A filter keeps the most likely tokens: with x_c the x of token c, and as in transformers in this order,
//   top_k   keeps c if fewer than top_k tokens have x > x_c
//   top_p   keeps c if of what top_k keeps, tokens with x > x_c have less than top_p of the mass exp(x)
//   min_p   keeps c if x_c >= top + ln(min_p)
// so equal logits are kept together, and the most likely token always. The best of all tokens is the best of those kept if
// it is kept itself. If not, then neither is any token that is no more likely, and the best of the others is tried next;
// the pass that counts the more likely tokens finds it as well. So a row usually takes one pass, not a sort. Which token it
// is does not depend on how many passes there were, since noise belongs to tokens.
//
// Only the mass of what top_k keeps, needed where top_p follows it, takes the top_k-th largest x. It is found digit after
// digit, by histograms of the keys that begin with the digits before: 3 passes.
//
// Stages: 1 the best of all slices   2 the top_k-th key, where top_p needs it   3 passes until a token is kept   4 write

// The bound of a loop that breaks out earlier.
const MANY = 0x7fffffffu;
const IN_FLIGHT = 4u;
const STEP_QUADS = IN_FLIGHT * WG_SIZE;
const MAX_DIGIT_BITS = 11u;
const BINS = 2048u;
const LANE_BINS = BINS / WG_SIZE;

@group(0) @binding(4) var<storage, read> partials: array<Partial>;
@group(0) @binding(5) var<storage, read_write> sampled: array<u32>;
@group(0) @binding(6) var<storage, read_write> log_probs: array<u32>;

var<workgroup> histogram: array<atomic<u32>, BINS>;
var<workgroup> lane_counts: array<u32, WG_SIZE>;
var<workgroup> found: vec2u;
var<workgroup> of_lanes: array<Survey, WG_SIZE>;

@compute @workgroup_size(WG_SIZE)
fn sample_pick(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row_index = group.x;
  let row = rows[row_index];
  var whole = no_partial();
  for (var slice = 0u; slice < shape.n_slices; slice++) {
    whole = merge_partials(whole, partials[row_index * shape.n_slices + slice]);
  }
  var token = whole.token;

  if (row.draws != 0u && token != NO_TOKEN) {
    let has_top_k = row.top_k != 0u;
    let has_top_p = row.top_p < 2.0;
    let has_min_p = row.log_min_p <= 0.0;
    let min_p_key = select(1u, keys_of(vec4f(whole.top + row.log_min_p)).x, has_min_p);
    var top_k_key = 1u;
    if (has_top_k && has_top_p) { top_k_key = kth_key(row_index, row.top_k, lane); }
    for (var round = 0u; round < MANY; round++) {
      let key = token_at(row_index, token).key;
      let is_likely = key >= max(min_p_key, top_k_key);
      if (is_likely && !has_top_p && !has_top_k) { break; }
      let survey = survey_above(row_index, Bounds(key, min_p_key, top_k_key, whole.top), lane);
      let in_top_k = !has_top_k || survey.count < row.top_k;
      if (is_likely && in_top_k && survey.mass < row.top_p * survey.total) { break; }
      token = survey.token;
    }
  }

  if (lane == 0u) {
    let logit = token_at(row_index, token).logit;
    let log_prob = logit - whole.logit_max - log(max(whole.logit_sum, 1e-30));
    sampled[row_index] = select(token, 0u, token == NO_TOKEN);
    log_probs[row_index] = select(bitcast<u32>(log_prob), MINUS_INFINITY, token == NO_TOKEN);
  }
}

struct Token {
  logit: f32,
  key: u32,
}

fn token_at(row_index: u32, token: u32) -> Token {
  let place = place_of(row_index);
  let element = min(token, shape.vocab - 1u) + place.shift;
  let tokens = tokens_of(row_index, place, element / 4u, quad_at(place, element / 4u));
  return Token(tokens.logits[element % 4u], tokens.keys[element % 4u]);
}

struct Bounds {
  key: u32,         // of the token in question
  min_p_key: u32,   // the lowest that min_p keeps
  top_k_key: u32,   // the lowest that top_k keeps, where top_p needs it
  top: f32,         // the largest x
}

// The tokens that are more likely than the one in question.
struct Survey {
  score: f32,     // the largest of those that min_p keeps
  token: u32,     // which has it
  count: u32,
  mass: f32,      // sum(exp(x - top))
  total: f32,     // the same over all tokens that top_k keeps
}

// One pass over the row.
fn survey_above(row_index: u32, bounds: Bounds, lane: u32) -> Survey {
  let place = place_of(row_index);
  var survey = Survey(LOWEST, NO_TOKEN, 0u, 0.0, 0.0);
  for (var step = 0u; step < MANY; step++) {
    let i = step * STEP_QUADS + lane;
    if (i >= place.n_quads) { break; }
    let bits0 = quad_at(place, i);
    let bits1 = quad_at(place, i + WG_SIZE);
    let bits2 = quad_at(place, i + 2u * WG_SIZE);
    let bits3 = quad_at(place, i + 3u * WG_SIZE);
    survey = with_quad(survey, row_index, bounds, tokens_of(row_index, place, i, bits0));
    survey = with_quad(survey, row_index, bounds, tokens_of(row_index, place, i + WG_SIZE, bits1));
    survey = with_quad(survey, row_index, bounds, tokens_of(row_index, place, i + 2u * WG_SIZE, bits2));
    survey = with_quad(survey, row_index, bounds, tokens_of(row_index, place, i + 3u * WG_SIZE, bits3));
  }
  of_lanes[lane] = survey;
  for (var level = 1u; level <= 8u; level++) {
    workgroupBarrier();
    let half = WG_SIZE >> level;
    if (lane < half) { of_lanes[lane] = merge_surveys(of_lanes[lane], of_lanes[lane + half]); }
  }
  return workgroupUniformLoad(&of_lanes[0]);
}

fn with_quad(before: Survey, row_index: u32, bounds: Bounds, tokens: Tokens) -> Survey {
  let is_above = tokens.keys > vec4u(bounds.key);
  let is_counted = (tokens.keys >= vec4u(bounds.top_k_key)) & (tokens.keys != vec4u(0u));
  var after = before;
  if (any(is_counted)) {
    let weights = exp_below4(tokens.x - vec4f(bounds.top));
    after.count += dot(select(vec4u(0u), vec4u(1u), is_above), vec4u(1u));
    after.mass += dot(select(vec4f(0.0), weights, is_above), vec4f(1.0));
    after.total += dot(select(vec4f(0.0), weights, is_counted), vec4f(1.0));
  }
  let is_next = is_above & (tokens.keys >= vec4u(max(bounds.min_p_key, bounds.top_k_key)));
  if (any(is_next)) {
    let scores = select(vec4f(LOWEST), scores_of(rows[row_index], tokens), is_next);
    for (var c = 0u; c < 4u; c++) {
      if (scores[c] > after.score) {
        after.score = scores[c];
        after.token = tokens.ids[c];
      }
    }
  }
  return after;
}

fn merge_surveys(a: Survey, b: Survey) -> Survey {
  let b_is_better = is_better(b.score, b.token, a.score, a.token);
  return Survey(
    select(a.score, b.score, b_is_better),
    select(a.token, b.token, b_is_better),
    a.count + b.count,
    a.mass + b.mass,
    a.total + b.total,
  );
}

// The k-th largest key of a row, or 1 if it has fewer than k tokens.
fn kth_key(row_index: u32, k: u32, lane: u32) -> u32 {
  var digits = 0u;
  var rest = k;
  for (var digit = 0u; digit < 3u; digit++) {
    let shift = select(select(0u, 10u, digit == 1u), 21u, digit == 0u);
    let bits = select(MAX_DIGIT_BITS, 10u, digit == 2u);
    count_digits(row_index, Digit(digits, shift, bits), lane);
    let bin = bin_of(rest, lane);
    if (bin.x == NO_TOKEN) { return 1u; }
    digits = (digits << bits) | bin.x;
    rest = bin.y;
  }
  return digits;
}

// Bits shift ... shift + bits - 1 of the keys whose higher bits are `before`.
struct Digit {
  before: u32,
  shift: u32,
  bits: u32,
}

fn count_digits(row_index: u32, digit: Digit, lane: u32) {
  let place = place_of(row_index);
  for (var i = 0u; i < LANE_BINS; i++) { atomicStore(&histogram[i * WG_SIZE + lane], 0u); }
  workgroupBarrier();
  for (var step = 0u; step < MANY; step++) {
    let i = step * STEP_QUADS + lane;
    if (i >= place.n_quads) { break; }
    let bits0 = quad_at(place, i);
    let bits1 = quad_at(place, i + WG_SIZE);
    let bits2 = quad_at(place, i + 2u * WG_SIZE);
    let bits3 = quad_at(place, i + 3u * WG_SIZE);
    count_quad(digit, tokens_of(row_index, place, i, bits0).keys);
    count_quad(digit, tokens_of(row_index, place, i + WG_SIZE, bits1).keys);
    count_quad(digit, tokens_of(row_index, place, i + 2u * WG_SIZE, bits2).keys);
    count_quad(digit, tokens_of(row_index, place, i + 3u * WG_SIZE, bits3).keys);
  }
  workgroupBarrier();
}

fn count_quad(digit: Digit, keys: vec4u) {
  // In two steps, since the first digit would have to be shifted by 32.
  let upper = keys >> vec4u(digit.shift);
  let counts = (keys != vec4u(0u)) & ((upper >> vec4u(digit.bits)) == vec4u(digit.before));
  let bins = upper & vec4u((1u << digit.bits) - 1u);
  for (var c = 0u; c < 4u; c++) {
    if (counts[c]) { atomicAdd(&histogram[bins[c]], 1u); }
  }
}

// The bin of the rest-th largest key, and which it is in that bin, from 1; NO_TOKEN if there are fewer keys. Lane l has
// the l-th LANE_BINS bins from above.
fn bin_of(rest: u32, lane: u32) -> vec2u {
  let highest = BINS - 1u - lane * LANE_BINS;
  var mine = 0u;
  for (var i = 0u; i < LANE_BINS; i++) { mine += atomicLoad(&histogram[highest - i]); }
  lane_counts[lane] = mine;
  if (lane == 0u) { found = vec2u(NO_TOKEN, 0u); }
  for (var level = 0u; level < 8u; level++) {
    let reach = 1u << level;
    workgroupBarrier();
    var sum = lane_counts[lane];
    if (lane >= reach) { sum += lane_counts[lane - reach]; }
    workgroupBarrier();
    lane_counts[lane] = sum;
  }
  var above = lane_counts[lane] - mine;
  if (above < rest && rest <= above + mine) {
    for (var i = 0u; i < LANE_BINS; i++) {
      let count = atomicLoad(&histogram[highest - i]);
      if (above < rest && rest <= above + count) { found = vec2u(highest - i, rest - above); }
      above += count;
    }
  }
  return workgroupUniformLoad(&found);
}
