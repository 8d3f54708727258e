// attn_decode: attention of few query rows over contiguous or paged keys and values, by chunks of keys (Flash-Decoding).
//
//   in   q            [tokens, n_heads, head_dim]                             any strides; see octets
//   in   k            [tokens or pages × page_size, n_kv_heads, head_dim]
//   in   v            [tokens or pages × page_size, n_kv_heads, head_dim_v]
//   in   batch_info   Sequence [B], then ALiBi slopes [B or 1, n_heads], then sinks [n_heads], as f32
//   in   items        [items]  Item       heaviest first
//   in   block_table  [B, table_width]    page of every page_size keys; only with PAGED
//   out  out          [tokens, n_heads, head_dim_v]                           see out_rows; with SPLIT [parts, ...]
//   out  lse          [n_heads, tokens]   f32                                 with SPLIT (maximum, total) [parts, n_heads]
//
// A row is one query token of one query head. One workgroup takes one item of one kv head: up to ROWS rows, those of all
// heads that share the kv head, against a chunk of the keys (see attention), so each key is read once for all of them.
//
// Invocations are arranged anew for each stage. For scores, KEY_LANES neighbours share four keys, and each takes every
// KEY_LANES-th octet (eight dims) of them. For weights, ROW_LANES neighbours share a row. For values, VALUE_LANES
// neighbours share a key, and each takes every VALUE_LANES-th octet; VALUE_GROUPS such groups take keys in turn, and
// their sums are added at the end.
//   m' = max(m, max s)   p = 2^(s - m')   l' = l 2^(m - m') + sum p   o' = o 2^(m - m') + p v      out = o / l
//
// Stages for each tile of keys:
//   1 scores   2 mask, row maximum, weights p   3 values
// and at the end
//   4 sum over groups, write
//
// Variants:
//   those of octets, key_offsets, out_rows, attention and lanes
//   BROADCAST   subgroups have LANES invocations, which share queries and weights (KEY_LANES is 1)

import package::shared::attention::{
  params, Job, item_index, job_of, token_of, head_of, band_of, mask_of, scores_of, sees, largest_of, tiles_of,
  Sums, with_sink, out_scale_of, out_row, write_lse_of,
};
import package::shared::band::Band;
import package::shared::key_offsets::{find_offsets, k_offsets_of, v_offset, has_page, offset_or, have_pages};
import package::shared::lanes::{
  MANY, ROLLED_LOOP, invocation_by_subgroup, number_subgroups, max_of_lanes, sum_of_lanes,
};
import package::shared::octets::{Octet, q_octet, k_octet, v_octet};
import package::shared::out_rows::write_quad;
import package::shared::scores::{MASKED, NO_MAXIMUM};
import constants::{
  WG_SIZE, TILE_KEYS, ROWS, KEY_LANES, KEY_LANE_BITS, HEAD_OCTETS, ROW_LANES, LANE_QUADS, VALUE_LANES, COLS,
  LANES, OWN_ROWS,
};

@if(SUBGROUPS) enable subgroups;

const TILE_QUADS = TILE_KEYS / 4;
const VALUE_GROUPS = WG_SIZE / VALUE_LANES;
const VALUE_STEPS = TILE_QUADS / VALUE_GROUPS;
const Q_SIZE = HEAD_OCTETS * ROWS * 2;
const SUM_SIZE = WG_SIZE * COLS * 2;
@if(SUBGROUPS)  const SCORE_COPIES = 1u;
@if(!SUBGROUPS) const SCORE_COPIES = KEY_LANES;

var<workgroup> tile: array<vec4f, max(Q_SIZE, SUM_SIZE)>;                   // queries [octet][low, high][row]; at the end values
var<workgroup> scores: array<vec4f, SCORE_COPIES * ROWS * TILE_QUADS>;      // [copy][row][four keys]; copy 0 becomes p
@if(!SUBGROUPS) var<workgroup> lane_value: array<f32, ROWS * ROW_LANES>;    // a lane's maximum or total of its row
var<workgroup> row_rescale: array<f32, ROWS>;
var<workgroup> row_sums: array<Sums, ROWS>;

@compute @workgroup_size(WG_SIZE)
fn attn_decode(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
  @if(SUBGROUPS) @builtin(subgroup_size) subgroup_size: u32,
  @if(SUBGROUPS) @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
  let workgroup_index = workgroup_id.y * grid.x + workgroup_id.x;
  if (item_index(workgroup_index) >= params.end_item) { return; }
  let job = job_of(workgroup_index, ROWS);
  if (job.first_row >= job.n_rows) { return; }
  let sequence = job.sequence;

  @if(SUBGROUPS)  number_subgroups(local);
  @if(SUBGROUPS)  let invocation = invocation_by_subgroup(subgroup_size, subgroup_lane);
  @if(!SUBGROUPS) let invocation = local;

  // Bands move forward with the token, so the first and the last token bound what any row sees.
  let first_band = band_of(sequence, token_of(job.first_row));
  let last_band = band_of(sequence, token_of(min(job.first_row + ROWS, job.n_rows) - 1u));
  let seen = Band(first_band.first, last_band.last);
  let tiles = tiles_of(job.item, seen, TILE_KEYS);

  stage_queries(job, invocation);
  @if(PAGED) find_offsets(sequence, seen, tiles.first, invocation);
  workgroupBarrier();

  // For scores
  let key_lane = invocation % KEY_LANES;
  let key_quad = invocation / KEY_LANES;
  let last_octet = (params.head_dim - 1u) / 8u;

  // For weights
  let row_lane = invocation % ROW_LANES;
  let weight_row = invocation / ROW_LANES;
  let has_row = weight_row < ROWS;
  let mask = mask_of(job, job.first_row + weight_row);
  var maximum = NO_MAXIMUM;
  var total = 0.0;

  // For values
  let value_lane = invocation % VALUE_LANES;
  let value_group = invocation / VALUE_LANES;
  @registers var low: array<array<vec4f, COLS>, ROWS>;
  @registers var high: array<array<vec4f, COLS>, ROWS>;

  for (var tile_index = tiles.first; tile_index < MANY; tile_index++) {
    if (tile_index >= tiles.end) { break; }

    // 1 scores: s[r] are those of this invocation's four keys. Of max(N, ROLLED_LOOP) and MANY see lanes.
    @registers var s: array<vec4f, ROWS>;
    let k_at = k_offsets_of(sequence, seen, tile_index, key_quad) + job.kv_head * params.k_head;
    for (var step = 0u; step < max(HEAD_OCTETS / KEY_LANES, ROLLED_LOOP); step++) {
      if (step * KEY_LANES * 8u >= params.head_dim) { break; }
      let octet = step * KEY_LANES + key_lane;
      // Octets beyond the head have queries of zero, and read an octet that is there.
      let dim = min(octet, last_octet) * 8u;
      let left = params.head_dim - dim;
      let k0 = k_octet(k_at.x + dim, left);
      let k1 = k_octet(k_at.y + dim, left);
      let k2 = k_octet(k_at.z + dim, left);
      let k3 = k_octet(k_at.w + dim, left);
      let line = octet * 2u * ROWS;
      @if(BROADCAST) @registers var own_low: array<vec4f, OWN_ROWS>;
      @if(BROADCAST) @registers var own_high: array<vec4f, OWN_ROWS>;
      @if(BROADCAST) {
        @unroll for (var i = 0u; i < OWN_ROWS; i++) {
          let own = min(i * LANES + invocation % LANES, ROWS - 1u);
          own_low[i] = tile[line + own];
          own_high[i] = tile[line + ROWS + own];
        }
      }
      @unroll for (var r = 0u; r < ROWS; r++) {
        @if(BROADCAST)  let q_low = subgroupBroadcast(own_low[r / LANES], r % LANES);
        @if(BROADCAST)  let q_high = subgroupBroadcast(own_high[r / LANES], r % LANES);
        @if(!BROADCAST) let q_low = tile[line + r];
        @if(!BROADCAST) let q_high = tile[line + ROWS + r];
        s[r] += vec4f(
          dot(q_low, k0.low) + dot(q_high, k0.high), dot(q_low, k1.low) + dot(q_high, k1.high),
          dot(q_low, k2.low) + dot(q_high, k2.high), dot(q_low, k3.low) + dot(q_high, k3.high),
        );
      }
    }
    @unroll for (var r = 0u; r < ROWS; r++) {
      @if(SUBGROUPS) {
        s[r] = sum_over_octets(s[r]);
        if (key_lane == 0u) { scores[r * TILE_QUADS + key_quad] = s[r]; }
      }
      @if(!SUBGROUPS) scores[(key_lane * ROWS + r) * TILE_QUADS + key_quad] = s[r];
    }
    workgroupBarrier();
    @if(PAGED) find_offsets(sequence, seen, tile_index + 1u, invocation);

    // 2 mask, row maximum, weights p: those of four keys in LANE_QUADS
    let previous = maximum;
    @registers var p: array<vec4f, LANE_QUADS>;
    if (has_row) {
      @unroll for (var i = 0u; i < LANE_QUADS; i++) {
        let quad = i * ROW_LANES + row_lane;
        let key = vec4i(i32(tile_index * TILE_KEYS + quad * 4u)) + vec4i(0, 1, 2, 3);
        var is_seen = sees(mask, key);
        @if(PAGED) is_seen &= have_pages(tile_index, quad);
        var products = scores[weight_row * TILE_QUADS + quad];
        @if(!SUBGROUPS) {
          for (var lane = 1u; lane < KEY_LANES; lane++) { products += scores[(lane * ROWS + weight_row) * TILE_QUADS + quad]; }
        }
        p[i] = select(vec4f(MASKED), scores_of(products, key, mask), is_seen);
        maximum = max(maximum, largest_of(p[i]));
      }
      @if(!SUBGROUPS) lane_value[weight_row * ROW_LANES + row_lane] = maximum;
    }
    @if(!SUBGROUPS) workgroupBarrier();
    maximum = max_of_row(weight_row, maximum);
    if (has_row) {
      let rescale = exp2(previous - maximum);
      total *= rescale;
      @unroll for (var i = 0u; i < LANE_QUADS; i++) {
        p[i] = exp2(p[i] - maximum);
        total += dot(p[i], vec4f(1));
        scores[weight_row * TILE_QUADS + i * ROW_LANES + row_lane] = p[i];
      }
      if (row_lane == 0u) { row_rescale[weight_row] = rescale; }
    }
    workgroupBarrier();

    // 3 values
    @unroll for (var r = 0u; r < ROWS; r++) {
      let rescale = row_rescale[r];
      @unroll for (var c = 0u; c < COLS; c++) {
        low[r][c] *= rescale;
        high[r][c] *= rescale;
      }
    }
    for (var step = 0u; step < max(VALUE_STEPS, ROLLED_LOOP); step++) {
      if (step >= VALUE_STEPS || i32(tile_index * TILE_KEYS + step * VALUE_GROUPS * 4u) > seen.last) { break; }
      let quad = step * VALUE_GROUPS + value_group;
      @registers var v_at: array<u32, 4>;
      @unroll for (var i = 0u; i < 4; i++) { v_at[i] = v_offset(sequence, seen, tile_index, quad * 4u + i); }
      // If a key has no page its weight is 0: read the value of a neighbour instead.
      let any_at = min(min(v_at[0u], v_at[1u]), min(v_at[2u], v_at[3u]));
      @unroll for (var i = 0u; i < 4; i++) { v_at[i] = offset_or(v_at[i], any_at) + job.kv_head * params.v_head; }
      @registers var p4: array<vec4f, ROWS>;
      @if(BROADCAST) {
        @registers var own_p: array<vec4f, OWN_ROWS>;
        @unroll for (var i = 0u; i < OWN_ROWS; i++) {
          own_p[i] = scores[min(i * LANES + invocation % LANES, ROWS - 1u) * TILE_QUADS + quad];
        }
        @unroll for (var r = 0u; r < ROWS; r++) { p4[r] = subgroupBroadcast(own_p[r / LANES], r % LANES); }
      }
      @if(!BROADCAST) {
        @unroll for (var r = 0u; r < ROWS; r++) { p4[r] = scores[r * TILE_QUADS + quad]; }
      }
      @unroll for (var c = 0u; c < COLS; c++) {
        let dim = (value_lane + c * VALUE_LANES) * 8u;
        if (dim < params.head_dim_v && has_page(any_at)) {
          let left = params.head_dim_v - dim;
          let v0 = v_octet(v_at[0u] + dim, left);
          let v1 = v_octet(v_at[1u] + dim, left);
          let v2 = v_octet(v_at[2u] + dim, left);
          let v3 = v_octet(v_at[3u] + dim, left);
          @unroll for (var r = 0u; r < ROWS; r++) {
            low[r][c] += p4[r].x * v0.low + p4[r].y * v1.low + p4[r].z * v2.low + p4[r].w * v3.low;
            high[r][c] += p4[r].x * v0.high + p4[r].y * v1.high + p4[r].z * v2.high + p4[r].w * v3.high;
          }
        }
      }
    }
    workgroupBarrier();  // the next tile's scores take the place of these weights
  }

  // 4 sum over groups, write. Each lane has summed the weights of its own keys.
  @if(!SUBGROUPS) {
    if (has_row) { lane_value[weight_row * ROW_LANES + row_lane] = total; }
    workgroupBarrier();
  }
  total = total_of_row(weight_row, total);
  if (has_row && row_lane == 0u) { row_sums[weight_row] = Sums(maximum, total); }
  for (var turn = 0u; turn < max(ROWS, ROLLED_LOOP); turn++) {
    if (turn >= min(ROWS, job.n_rows - job.first_row)) { break; }
    @unroll for (var r = 0u; r < ROWS; r++) {
      if (r == turn) {
        @unroll for (var c = 0u; c < COLS; c++) {
          tile[(c * WG_SIZE + invocation) * 2u] = low[r][c];
          tile[(c * WG_SIZE + invocation) * 2u + 1u] = high[r][c];
        }
      }
    }
    workgroupBarrier();
    if (value_group == 0u) { write_row(job, turn, value_lane); }
    workgroupBarrier();
  }
}

// Loads the queries of the rows into `tile`. Query rows past the end are staged as zeros; their results are never
// stored.
fn stage_queries(job: Job, invocation: u32) {
  for (var index = invocation; index < MANY; index += WG_SIZE) {
    if (index >= HEAD_OCTETS * ROWS) { break; }
    let row = job.first_row + index % ROWS;
    let dim = index / ROWS * 8u;
    var elements = Octet(vec4f(), vec4f());
    if (row < job.n_rows && dim < params.head_dim) {
      let q_at = job.sequence.q_base + token_of(row) * params.q_token + head_of(job, row) * params.q_head;
      elements = q_octet(q_at + dim, params.head_dim - dim);
    }
    let at = index / ROWS * 2u * ROWS + index % ROWS;
    tile[at] = elements.low;
    tile[at + ROWS] = elements.high;
  }
}

// Sums over the lanes that share four keys.
@if(SUBGROUPS) fn sum_over_octets(own: vec4f) -> vec4f {
  var sum = own;
  @unroll for (var bit = 0u; bit < KEY_LANE_BITS; bit++) { sum += subgroupShuffleXor(sum, 1u << bit); }
  return sum;
}

// The maximum over the lanes that share a row. Without subgroups they have stored theirs in lane_value. `row % ROWS`
// shows compilers that indices are within bounds.
fn max_of_row(row: u32, own: f32) -> f32 {
  @if(SUBGROUPS) return max_of_lanes(own);
  @if(!SUBGROUPS) {
    var largest = own;
    if (row < ROWS) {
      for (var lane = 0u; lane < ROW_LANES; lane++) { largest = max(largest, lane_value[row % ROWS * ROW_LANES + lane]); }
    }
    return largest;
  }
}

// The sum over the lanes that share a row, likewise.
fn total_of_row(row: u32, own: f32) -> f32 {
  @if(SUBGROUPS) return sum_of_lanes(own);
  @if(!SUBGROUPS) {
    var sum = 0.0;
    if (row < ROWS) {
      for (var lane = 0u; lane < ROW_LANES; lane++) { sum += lane_value[row % ROWS * ROW_LANES + lane]; }
    }
    return sum;
  }
}

// Writes row r of the tile: its output, and its lse.
fn write_row(job: Job, r: u32, value_lane: u32) {
  let row = job.first_row + r;
  let head = head_of(job, row);
  let sums_with_sink = with_sink(row_sums[r], head);
  let out_scale = out_scale_of(row_sums[r], sums_with_sink);
  let row_at = out_row(job, token_of(row), head);
  for (var c = 0u; c < max(COLS, ROLLED_LOOP); c++) {
    let dim = (value_lane + c * VALUE_LANES) * 8u;
    if (dim >= params.head_dim_v) { break; }
    var low = vec4f();
    var high = vec4f();
    for (var group = 0u; group < max(VALUE_GROUPS, ROLLED_LOOP); group++) {
      if (group >= VALUE_GROUPS) { break; }
      let at = (c * WG_SIZE + group * VALUE_LANES + value_lane) * 2u;
      low += tile[at];
      high += tile[at + 1u];
    }
    write_quad(row_at, dim, params.head_dim_v, low * out_scale);
    write_quad(row_at, dim + 4u, params.head_dim_v, high * out_scale);
  }
  if (value_lane == 0u) { write_lse_of(job, token_of(row), head, sums_with_sink); }
}
