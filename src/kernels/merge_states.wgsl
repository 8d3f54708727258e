// merge_states: combines attention over parts of the keys into attention over all of them.
//
//   in   a_out       [parts, tokens, n_heads, head_dim]  each part's output; with CHUNKS [parts, n_heads, ...], f32
//   in   a_lse       [parts, tokens, n_heads]  f32       ln(sum(exp(score))); -inf: no key seen, out is ignored
//                    [...] (f32, f32)                    if a_has_totals: m_c and l_c, sum(exp(score)) = l_c * e^m_c
//                    in a_out, [parts, n_heads] (f32, f32, ...) from a_lse_base on  with CHUNKS: the same of l_c * 2^m_c
//   in   b_out       [tokens, n_heads, head_dim]         the second part; only with PAIR
//                    [parts, n_heads, ...]    f32        only with SHARED
//   in   b_lse       [tokens, n_heads]         f32       or if b_has_totals (f32, f32)
//                    in b_out, from b_lse_base on        with SHARED, as a_lse with CHUNKS
//   in   batch_info  Sequence [B], ..., sinks [n_heads]  only with CHUNKS
//   in   items       [n_items]  SplitToken               only with CHUNKS
//   out  out         [tokens, n_heads, head_dim]         see out_rows
//   out  lse         [tokens, n_heads]         f32       or if has_totals (f32, f32), to be merged on
//
// A row is one head of one token, a quad four of its neighbouring dims, a block QUAD_LANES quads. The parts of a block are
// dealt out to part_lanes lanes, of an invocation for each quad: together they load at once what one would load part after
// part. A lane keeps m, l and o of the parts that it has seen, as the online softmax does, so that outputs are read once
// and do not wait for the largest maximum:
//   m = max_c m_c      l = sum_c(l_c * e^(m_c - m))      o = sum_c(l_c * e^(m_c - m) * out_c)
// The lanes of a block are combined in the same way, in their order, to out = o / l and lse = m + ln(l).
//
// A part that has only its lse has m_c = lse_c and l_c = 1. With CHUNKS, m_c is in base 2: e is 2. A sink is one more
// part then, without an output. The order of sums depends on part_lanes and the number of parts alone.
//
// Stages: 1 the parts of a lane   2 the lanes of a block   3 write
//
// Variants:
//   those of out_rows
//   CHUNKS   the parts are from the chunks of keys of a split attention, and an item says where those of a token are
//   SHARED   beside chunks, b holds n_b parts of each item from keys that all sequences share; with CHUNKS
//   PAIR     there are two parts, a and b; else a holds parts at equal distances
//   LANES    a block may have several lanes
//   WIDE     rows of parts allow 16-byte reads
// Constants:
//   STEP_PARTS   parts whose loads a lane has in flight
//   PART_LANES   the most part_lanes

import constants::{STEP_PARTS, PART_LANES};
import package::shared::elements::{quad_of, wide_of, word_of, number_from, MINUS_INFINITY};
import package::shared::batch_info::{sequence_at, batch_info};
import package::shared::out_rows::{write_quad, write_lse, write_natural_lse, write_sums};
import package::shared::scores::{LOG2_E, sink_part};

const WG_SIZE = 128u;
const QUAD_LANES = 8u;
// The bound of loops that break out earlier.
const MANY = 0x7fffffffu;
// Where maxima start: the lowest f32.
const LOWEST = -3.4028234e38;

struct Params {
  n_heads: u32,
  head_dim: u32,
  n_items: u32,           // tokens: of all sequences, or with CHUNKS of those that are split
  row_blocks: u32,        // blocks of QUAD_LANES quads in a row
  part_lanes: u32,        // lanes among which the parts of a block are dealt out; a power of 2
  a_has_totals: u32,
  b_has_totals: u32,
  has_totals: u32,
  n_tokens: u32,          // of a sequence; without CHUNKS
  n_a: u32,               // parts in a; without CHUNKS
  n_b: u32,               // parts of an item in b; with SHARED
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
@if(WIDE) @group(0) @binding(1) var<storage, read> a_out: array<vec4u>;
@else     @group(0) @binding(1) var<storage, read> a_out: array<u32>;
@group(0) @binding(2) var<storage, read> a_lse: array<u32>;
@if(WIDE) @group(0) @binding(3) var<storage, read> b_out: array<vec4u>;
@else     @group(0) @binding(3) var<storage, read> b_out: array<u32>;
@group(0) @binding(5) var<storage, read> items: array<SplitToken>;
@group(0) @binding(6) var<storage, read> b_lse: array<u32>;

// What a lane has of a block: o, and m and l.
var<workgroup> lane_out: array<vec4f, WG_SIZE>;
var<workgroup> lane_weight: array<vec2f, WG_SIZE>;

// Where the parts and results of a head of a token are.
struct Row {
  first_part: u32,
  n_parts: u32,
  n_own: u32,             // those in a; the others are in b
  a_out: u32,
  a_lse: u32,
  b_out: u32,
  b_lse: u32,
  out: u32,
  lse: u32,
}

// How a part weighs: m_c and l_c.
alias Weight = vec2f;

// No part at all. No maximum is below it.
const NOTHING = Weight(LOWEST, 0.0);

@compute @workgroup_size(WG_SIZE)
fn merge_states(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let part_lanes = params.part_lanes;
  let lane_bits = countTrailingZeros(part_lanes);
  let lane = (workgroup_id.y * grid.x + workgroup_id.x) * (WG_SIZE / QUAD_LANES) + local / QUAD_LANES;
  let part_lane = lane & (part_lanes - 1u);
  let row_block = lane >> lane_bits;
  let row_index = row_block / params.row_blocks;
  let dim = 4u * (row_block % params.row_blocks * QUAD_LANES + local % QUAD_LANES);
  let head = row_index % params.n_heads;
  let index = row_index / params.n_heads;
  // Invocations beyond the last row have no parts, but come to the barrier too.
  let row = row_at(min(index, params.n_items - 1u), head);
  let n_parts = select(0u, row.n_parts, index < params.n_items);

  // 1 the parts of a lane
  var own = NOTHING;
  @if(CHUNKS) if (part_lane == 0u) { own = sink_of(head); }
  var sum = vec4f();
  for (var turn = 0u; turn < MANY; turn++) {
    let first = turn * STEP_PARTS * part_lanes + part_lane;
    if (first >= n_parts) { break; }
    @registers var weight: array<vec2f, STEP_PARTS>;
    @registers var part_out: array<vec4f, STEP_PARTS>;
    @unroll for (var i = 0u; i < STEP_PARTS; i++) {
      // Past the end, the last part again, which then has no weight: loads need not wait for a branch.
      let part = first + i * part_lanes;
      weight[i] = select(NOTHING, weight_of(row, min(part, n_parts - 1u)), part < n_parts);
      part_out[i] = out_of(row, min(part, n_parts - 1u), dim);
    }
    var maximum = own.x;
    @unroll for (var i = 0u; i < STEP_PARTS; i++) { maximum = max(maximum, weight[i].x); }
    let kept = share_of(Weight(own.x, 1.0), maximum);
    own = Weight(maximum, own.y * kept);
    sum *= kept;
    @unroll for (var i = 0u; i < STEP_PARTS; i++) {
      let share = share_of(weight[i], maximum);
      own.y += share;
      sum += share * select(vec4f(), part_out[i], share > 0.0);
    }
  }

  // 2 the lanes of a block
  @if(LANES) {
    if (part_lanes > 1u) {
      lane_out[local] = sum;
      lane_weight[local] = own;
      workgroupBarrier();
      if (part_lane > 0u) { return; }
      @registers var weights: array<vec2f, PART_LANES>;
      @unroll for (var other = 0u; other < PART_LANES; other++) {
        let at = (local / QUAD_LANES + other) % PART_LANES * QUAD_LANES + local % QUAD_LANES;
        weights[other] = select(NOTHING, lane_weight[at], other < part_lanes);
        own.x = max(own.x, weights[other].x);
      }
      own.y = 0.0;
      sum = vec4f();
      @unroll for (var other = 0u; other < PART_LANES; other++) {
        let at = (local / QUAD_LANES + other) % PART_LANES * QUAD_LANES + local % QUAD_LANES;
        let kept = select(0.0, share_of(Weight(weights[other].x, 1.0), own.x), other < part_lanes);
        own.y += weights[other].y * kept;
        sum += lane_out[at] * kept;
      }
    }
  }

  // 3 write
  if (!is_there(index)) { return; }
  write_quad(row.out, dim, params.head_dim, sum * select(0.0, 1.0 / own.y, own.y > 0.0));
  if (dim == 0u && params.has_lse != 0u) {
    @if(CHUNKS) write_lse(row.lse, own.x, own.y);
    @if(!CHUNKS) {
      if (params.has_totals != 0u) { write_sums(row.lse, own.x, own.y); }
      else { write_natural_lse(row.lse, own.x, own.y); }
    }
  }
}

// Where lengths are on the GPU, there are items for tokens that the sequence may not have.
fn is_there(index: u32) -> bool {
  if (index >= params.n_items) { return false; }
  @if(CHUNKS) {
    let item = items[index];
    let sequence = sequence_at(item.sequence);
    return item.token < sequence.q_len;
  }
  @if(!CHUNKS) return true;
}

@if(CHUNKS) fn sink_of(head: u32) -> Weight {
  if (params.has_sinks == 0u) { return NOTHING; }
  return sink_part(batch_info[params.sinks_at + head]);
}

// The weight of a part relative to a maximum that is no smaller. Only the difference of maxima is turned to base 2: large
// maxima would lose digits. For a part far below the maximum the difference might overflow.
fn share_of(weight: Weight, maximum: f32) -> f32 {
  let below = max(weight.x, maximum - 1000.0) - maximum;
  @if(CHUNKS)  let factor = exp2(below);
  @if(!CHUNKS) let factor = exp2(below * LOG2_E);
  return select(weight.y * factor, 0.0, weight.x < maximum - 1000.0);
}

@if(CHUNKS) fn row_at(index: u32, head: u32) -> Row {
  let item = items[index];
  let sequence = sequence_at(item.sequence);
  return Row(
    item.first_part, item.n_parts + params.n_b, item.n_parts,
    head * params.a_head, params.a_lse_base + head * params.a_lse_head,
    index * params.n_b * params.a_part + head * params.b_head,
    params.b_lse_base + index * params.n_b * params.a_lse_part + head * params.b_lse_head,
    sequence.out_base + item.token * params.out_token + head * params.out_head,
    sequence.lse_base + item.token * params.lse_token + head * params.lse_head,
  );
}

@if(!CHUNKS) fn row_at(index: u32, head: u32) -> Row {
  let b = index / params.n_tokens;
  let i = index % params.n_tokens;
  @if(PAIR)  let n_parts = 2u;
  @if(!PAIR) let n_parts = params.n_a;
  return Row(
    0u, n_parts, n_parts,
    params.a_base + b * params.a_sequence + i * params.a_token + head * params.a_head,
    params.a_lse_base + b * params.a_lse_sequence + i * params.a_lse_token + head * params.a_lse_head,
    params.b_base + b * params.b_sequence + i * params.b_token + head * params.b_head,
    params.b_lse_base + b * params.b_lse_sequence + i * params.b_lse_token + head * params.b_lse_head,
    params.out_base + b * params.out_sequence + i * params.out_token + head * params.out_head,
    params.lse_base + b * params.lse_sequence + i * params.lse_token + head * params.lse_head,
  );
}

fn weight_of(row: Row, part: u32) -> Weight {
  @if(PAIR) {
    if (part > 0u) {
      if (params.b_has_totals == 0u) { return weight_from_lse(b_lse[row.b_lse]); }
      return Weight(bitcast<f32>(b_lse[row.b_lse]), bitcast<f32>(b_lse[row.b_lse + 1u]));
    }
  }
  @if(SHARED) {
    if (part >= row.n_own) {
      return bitcast<vec2f>(b_out[(row.b_lse + (part - row.n_own) * params.a_lse_part) / 4u].xy);
    }
  }
  let at = row.a_lse + (row.first_part + part) * params.a_lse_part;
  @if(CHUNKS) return bitcast<vec2f>(a_out[at / 4u].xy);
  @if(!CHUNKS) {
    if (params.a_has_totals == 0u) { return weight_from_lse(a_lse[at]); }
    return Weight(bitcast<f32>(a_lse[at]), bitcast<f32>(a_lse[at + 1u]));
  }
}

@if(!CHUNKS) fn weight_from_lse(bits: u32) -> Weight {
  if (bits == MINUS_INFINITY) { return NOTHING; }
  return Weight(bitcast<f32>(bits), 1.0);
}

// Four dims of a part's output; those that the row does not have may be anything.
fn out_of(row: Row, part: u32, dim: u32) -> vec4f {
  @if(WIDE) {
    let last_quad = (params.head_dim - 1u) / 4u * 4u;
    @if(PAIR) {
      if (part > 0u) {
        let at = row.b_out + min(dim, last_quad);
        return quad_of(b_out[wide_of(at, params.b_type)], at, params.b_type);
      }
    }
    @if(SHARED) {
      if (part >= row.n_own) {
        return bitcast<vec4f>(b_out[(row.b_out + (part - row.n_own) * params.a_part + min(dim, last_quad)) / 4u]);
      }
    }
    let at = row.a_out + (row.first_part + part) * params.a_part + min(dim, last_quad);
    @if(CHUNKS)  return bitcast<vec4f>(a_out[at / 4u]);
    @if(!CHUNKS) return quad_of(a_out[wide_of(at, params.a_type)], at, params.a_type);
  }
  @if(!WIDE) {
    var four = vec4f();
    for (var i = 0u; i < 4u; i++) {
      if (dim + i < params.head_dim) { four[i] = out_element(row, part, dim + i); }
    }
    return four;
  }
}

@if(!WIDE) fn out_element(row: Row, part: u32, dim: u32) -> f32 {
  @if(PAIR) {
    if (part > 0u) {
      let at = row.b_out + dim;
      return number_from(b_out[word_of(at, params.b_type)], at, params.b_type);
    }
  }
  let at = row.a_out + (row.first_part + part) * params.a_part + dim;
  return number_from(a_out[word_of(at, params.a_type)], at, params.a_type);
}
