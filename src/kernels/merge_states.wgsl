// merge_states: combines attention over parts of the keys into attention over all of them.
//
//   in   a_out       [parts, tokens, n_heads, head_dim]  each part's output; with CHUNKS [parts, n_heads, ...], f32
//   in   a_lse       [parts, tokens, n_heads]  f32       ln(sum(exp(score))); -inf: no key seen, out is ignored
//                    [...] (f32, f32)                    if a_has_totals: m_c and l_c, sum(exp(score)) = l_c * e^m_c
//                    [parts, n_heads] (f32, f32)         with CHUNKS: the same of l_c * 2^m_c
//   in   b_out       [tokens, n_heads, head_dim]         the second part; only with PAIR
//   in   b_lse       [tokens, n_heads]         f32       or if b_has_totals (f32, f32)
//   in   batch_info  Sequence [B], ..., sinks [n_heads]  only with CHUNKS
//   in   items       [n_items]  SplitToken               only with CHUNKS
//   out  out         [tokens, n_heads, head_dim]         see out_rows
//   out  lse         [tokens, n_heads]         f32       or if has_totals (f32, f32), to be merged on
//
// One invocation owns four neighbouring dims of one head of one token. With m = max_c m_c, w_c = l_c * e^(m_c - m):
//   out = sum_c(w_c * out_c) / sum_c(w_c)      lse = m + ln(sum_c(w_c))
// A part that has only its lse has m_c = lse_c and l_c = 1. With CHUNKS, m_c is in base 2: w_c = l_c * 2^(m_c - m). A
// sink is one more part then, without an output.
//
// Stages: 1 largest maximum   2 weighted sums   3 write
//
// Variants:
//   those of out_rows
//   CHUNKS   the parts are from the chunks of keys of a split attention, and an item says where those of a token are
//   PAIR     there are two parts, a and b; else a holds parts at equal distances

import package::shared::elements::{word_of, number_from, MINUS_INFINITY};
import package::shared::batch_info::{sequence_at, batch_info};
import package::shared::out_rows::{write_quad, write_lse, write_natural_lse, write_sums};
import package::shared::scores::{LOG2_E, sink_part};

const WG_SIZE = 64u;
// Where maxima start: the lowest f32.
const LOWEST = -3.4028234e38;

struct Params {
  n_heads: u32,
  head_dim: u32,
  head_quads: u32,
  n_items: u32,           // tokens: of all sequences, or with CHUNKS of those that are split
  a_has_totals: u32,
  b_has_totals: u32,
  has_totals: u32,
  n_tokens: u32,          // of a sequence; without CHUNKS
  n_a: u32,               // parts in a; without CHUNKS
  a_type: u32,            // F32, F16 or BF16
  a_base: u32,            // where each tensor starts, and its strides, in elements
  a_part: u32,
  a_sequence: u32,
  a_token: u32,
  a_head: u32,
  a_lse_base: u32,
  a_lse_part: u32,
  a_lse_sequence: u32,
  a_lse_token: u32,
  a_lse_head: u32,
  b_type: u32,
  b_base: u32,
  b_sequence: u32,
  b_token: u32,
  b_head: u32,
  b_lse_base: u32,
  b_lse_sequence: u32,
  b_lse_token: u32,
  b_lse_head: u32,
  out_base: u32,
  out_sequence: u32,
  out_token: u32,
  out_head: u32,
  lse_base: u32,
  lse_sequence: u32,
  lse_token: u32,
  lse_head: u32,
  has_lse: u32,
  sinks_at: u32,          // first sink in batch_info; with CHUNKS
  has_sinks: u32,
}

// A token whose keys were split into chunks.
struct SplitToken {
  sequence: u32,
  token: u32,
  first_part: u32,
  n_parts: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a_out: array<u32>;
@group(0) @binding(2) var<storage, read> a_lse: array<u32>;
@group(0) @binding(3) var<storage, read> b_out: array<u32>;
@group(0) @binding(5) var<storage, read> items: array<SplitToken>;
@group(0) @binding(6) var<storage, read> b_lse: array<u32>;

// Where a token's parts and results are.
struct Token {
  first_part: u32,
  n_parts: u32,
  a_out: u32,
  a_lse: u32,
  b_out: u32,
  b_lse: u32,
  out: u32,
  lse: u32,
}

// How a part weighs: l_c and m_c.
struct Weight {
  maximum: f32,
  total: f32,
}

@compute @workgroup_size(WG_SIZE)
fn merge_states(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let invocation = (workgroup_id.y * grid.x + workgroup_id.x) * WG_SIZE + local;
  let dim = invocation % params.head_quads * 4u;
  let head = invocation / params.head_quads % params.n_heads;
  let index = invocation / params.head_quads / params.n_heads;
  if (index >= params.n_items) { return; }
  // Where lengths are on the GPU, there are items for tokens that the sequence may not have.
  @if(CHUNKS) if (items[index].token >= sequence_at(items[index].sequence).q_len) { return; }
  let token = token_at(index, head);

  // 1 largest maximum
  @if(CHUNKS)  let first = sink_of(head);
  @if(!CHUNKS) let first = Weight(LOWEST, 0.0);
  var maximum = first.maximum;
  for (var part = 0u; part < token.n_parts; part++) { maximum = max(maximum, weight_of(token, part).maximum); }

  // 2 weighted sums
  var total = share_of(first, maximum);
  var sum = vec4f();
  for (var part = 0u; part < token.n_parts; part++) {
    let weight = weight_of(token, part);
    if (weight.total > 0.0) {
      let share = share_of(weight, maximum);
      total += share;
      sum += share * out_of(token, part, dim);
    }
  }

  // 3 write
  write_quad(token.out, dim, params.head_dim, sum * select(0.0, 1.0 / total, total > 0.0));
  if (dim == 0u && params.has_lse != 0u) {
    @if(CHUNKS) write_lse(token.lse, maximum, total);
    @if(!CHUNKS) {
      if (params.has_totals != 0u) { write_sums(token.lse, maximum, total); }
      else { write_natural_lse(token.lse, maximum, total); }
    }
  }
}

@if(CHUNKS) fn sink_of(head: u32) -> Weight {
  if (params.has_sinks == 0u) { return Weight(LOWEST, 0.0); }
  let sink = sink_part(batch_info[params.sinks_at + head]);
  return Weight(sink.x, sink.y);
}

// The weight of a part relative to the largest maximum. Only the difference of maxima is turned to base 2: large maxima
// would lose digits. For a part far below the largest the difference might overflow.
fn share_of(weight: Weight, maximum: f32) -> f32 {
  if (weight.maximum < maximum - 1000.0) { return 0.0; }
  @if(CHUNKS)  return weight.total * exp2(weight.maximum - maximum);
  @if(!CHUNKS) return weight.total * exp2((weight.maximum - maximum) * LOG2_E);
}

@if(CHUNKS) fn token_at(index: u32, head: u32) -> Token {
  let item = items[index];
  let sequence = sequence_at(item.sequence);
  return Token(
    item.first_part, item.n_parts, head * params.a_head, head * params.a_lse_head, 0u, 0u,
    sequence.out_base + item.token * params.out_token + head * params.out_head,
    sequence.lse_base + item.token * params.lse_token + head * params.lse_head,
  );
}

@if(!CHUNKS) fn token_at(index: u32, head: u32) -> Token {
  let b = index / params.n_tokens;
  let i = index % params.n_tokens;
  @if(PAIR)  let n_parts = 2u;
  @if(!PAIR) let n_parts = params.n_a;
  return Token(
    0u, n_parts,
    params.a_base + b * params.a_sequence + i * params.a_token + head * params.a_head,
    params.a_lse_base + b * params.a_lse_sequence + i * params.a_lse_token + head * params.a_lse_head,
    params.b_base + b * params.b_sequence + i * params.b_token + head * params.b_head,
    params.b_lse_base + b * params.b_lse_sequence + i * params.b_lse_token + head * params.b_lse_head,
    params.out_base + b * params.out_sequence + i * params.out_token + head * params.out_head,
    params.lse_base + b * params.lse_sequence + i * params.lse_token + head * params.lse_head,
  );
}

fn weight_of(token: Token, part: u32) -> Weight {
  @if(PAIR) {
    if (part > 0u) {
      if (params.b_has_totals == 0u) { return weight_from_lse(b_lse[token.b_lse]); }
      return Weight(bitcast<f32>(b_lse[token.b_lse]), bitcast<f32>(b_lse[token.b_lse + 1u]));
    }
  }
  let at = token.a_lse + (token.first_part + part) * params.a_lse_part;
  @if(!CHUNKS) {
    if (params.a_has_totals == 0u) { return weight_from_lse(a_lse[at]); }
  }
  return Weight(bitcast<f32>(a_lse[at]), bitcast<f32>(a_lse[at + 1u]));
}

// No maximum is below that of a part without keys.
@if(!CHUNKS) fn weight_from_lse(bits: u32) -> Weight {
  if (bits == MINUS_INFINITY) { return Weight(LOWEST, 0.0); }
  return Weight(bitcast<f32>(bits), 1.0);
}

fn out_of(token: Token, part: u32, dim: u32) -> vec4f {
  var four = vec4f();
  for (var i = 0u; i < 4u; i++) {
    if (dim + i < params.head_dim) { four[i] = out_element(token, part, dim + i); }
  }
  return four;
}

fn out_element(token: Token, part: u32, dim: u32) -> f32 {
  @if(PAIR) {
    if (part > 0u) {
      let at = token.b_out + dim;
      return number_from(b_out[word_of(at, params.b_type)], at, params.b_type);
    }
  }
  let at = token.a_out + (token.first_part + part) * params.a_part + dim;
  @if(CHUNKS)  return bitcast<f32>(a_out[at]);
  @if(!CHUNKS) return number_from(a_out[word_of(at, params.a_type)], at, params.a_type);
}
