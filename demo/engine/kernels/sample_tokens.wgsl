// sample_tokens: tokens with their logits after penalty and temperature, and the noise that draws among them.
//
// A token is drawn by the Gumbel-max trick: of all tokens t, the one whose score
//   x_t + g_t      g_t = -ln(e_t)      e_t = -ln(1 - w_t)      w_t uniform in (0, 1)
// is largest is t with the probability exp(x_t) / sum(exp(x)). w_t is a hash of (seed, position, t) alone, and the largest
// score does not depend on the order in which scores are compared. So neither does the token on other rows, the row's
// place among them, or how the vocabulary is divided.
//
// NaN and -inf are tokens that are never chosen, +inf is the largest logit there is.

const SIGN = 0x80000000u;
const INFINITY = 0x7f800000u;
const LARGEST = 0x7f7fffffu;
const MINUS_INFINITY = 0xff800000u;
// Below every score.
const LOWEST = -3.4028234e38;
const NO_TOKEN = 0xffffffffu;

@group(0) @binding(2) var<storage, read> logits: array<vec4u>;  // [rows, row_stride]
@group(0) @binding(3) var<storage, read> seen: array<u32>;      // [rows, seen_words]

// Four tokens with neighbouring ids.
struct Tokens {
  ids: vec4u,
  logits: vec4f,
  x: vec4f,       // after penalty and temperature
  keys: vec4u,    // x as integers in the same order; 0: no token, or one that is never chosen
}

fn quad_at(place: Place, i: u32) -> vec4u {
  return logits[place.first + min(i, place.n_quads - 1u)];
}

// The tokens of quad i of a row, whose logits have these bits. Beyond the row there are none.
fn tokens_of(row_index: u32, place: Place, i: u32, bits: vec4u) -> Tokens {
  let row = rows[row_index];
  let ids = vec4u(4u * i) + vec4u(0u, 1u, 2u, 3u) - vec4u(place.shift);
  let magnitude = bits & vec4u(~SIGN);
  let alive = (ids < vec4u(shape.vocab)) & (magnitude <= vec4u(INFINITY)) & (bits != vec4u(MINUS_INFINITY));
  let finite = (bits & vec4u(SIGN)) | min(magnitude, vec4u(LARGEST));
  let logit = clamp(bitcast<vec4f>(select(vec4u(0u), finite, alive)), vec4f(-row.limit), vec4f(row.limit));
  var scale = vec4f(row.scale);
  if (row.penalised != 0u && i < place.n_quads) {
    let word = seen[row_index * seen_words() + i / 8u] >> (4u * (i % 8u));
    let of_seen = select(vec4f(row.scale_seen_negative), vec4f(row.scale_seen_positive), logit > vec4f(0.0));
    scale = select(scale, of_seen, (vec4u(word) & vec4u(1u, 2u, 4u, 8u)) != vec4u(0u));
  }
  let x = logit * scale;
  return Tokens(ids, logit, x, select(vec4u(0u), keys_of(x), alive));
}

// Integers in the order of the numbers; never 0.
fn keys_of(x: vec4f) -> vec4u {
  let bits = bitcast<vec4u>(x);
  let without_minus_zero = select(bits, vec4u(0u), bits == vec4u(SIGN));
  return without_minus_zero ^ select(vec4u(SIGN), vec4u(~0u), without_minus_zero >= vec4u(SIGN));
}

fn scores_of(row: Row, tokens: Tokens) -> vec4f {
  if (row.draws == 0u) { return tokens.x; }
  return tokens.x + gumbel(row.noise_keys, tokens.ids);
}

// A hash of four numbers (lowbias32).
fn mix(value: vec4u) -> vec4u {
  var v = value;
  v = (v ^ (v >> vec4u(16u))) * 0x7feb352du;
  v = (v ^ (v >> vec4u(15u))) * 0x846ca68bu;
  return v ^ (v >> vec4u(16u));
}

fn gumbel(noise_keys: vec2u, ids: vec4u) -> vec4f {
  let bits = mix(mix(ids * 0x9e3779b9u + vec4u(noise_keys.x)) ^ vec4u(noise_keys.y));
  // The smaller of w and 1 - w keeps all its digits. It is the small e that lead to large g, which decide.
  let is_low = bits < vec4u(SIGN);
  let w = (vec4f(min(bits, ~bits)) + 0.5) * 0x1p-32;
  let series = w * (1.0 + w * (1.0 / 2.0 + w * (1.0 / 3.0 + w * (1.0 / 4.0 + w * (1.0 / 5.0)))));
  let e = select(-log(select(w, 1.0 - w, is_low)), series, is_low & (w < vec4f(0.0625)));
  return -log(e);
}

// What a slice of the vocabulary comes to.
struct Partial {
  score: f32,     // the largest
  token: u32,     // which has it; of several the lowest
  top: f32,       // the largest x
  logit_max: f32,
  logit_sum: f32, // sum(exp(logit - logit_max))
}

fn no_partial() -> Partial {
  return Partial(LOWEST, NO_TOKEN, LOWEST, LOWEST, 0.0);
}

fn is_better(score: f32, token: u32, than_score: f32, than_token: u32) -> bool {
  return score > than_score || (score == than_score && token < than_token);
}

fn merge_partials(a: Partial, b: Partial) -> Partial {
  let b_is_better = is_better(b.score, b.token, a.score, a.token);
  let logit_max = max(a.logit_max, b.logit_max);
  let sum = a.logit_sum * exp_below(a.logit_max - logit_max) + b.logit_sum * exp_below(b.logit_max - logit_max);
  return Partial(
    select(a.score, b.score, b_is_better),
    select(a.token, b.token, b_is_better),
    max(a.top, b.top),
    logit_max,
    sum,
  );
}

// e^x for x of at most 0, and nearly nothing where that would be less than an f32 holds.
fn exp_below(x: f32) -> f32 {
  return exp(clamp(x, -87.0, 0.0));
}

fn exp_below4(x: vec4f) -> vec4f {
  return exp(clamp(x, vec4f(-87.0), vec4f(0.0)));
}
