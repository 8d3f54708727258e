// attn_prefill: attention of many query rows over contiguous or paged keys and values, in one pass (FlashAttention).
//
//   in   q            [tokens, n_heads, head_dim]                             any strides; see octets
//   in   k            [tokens or pages × page_size, n_kv_heads, head_dim]
//   in   v            [tokens or pages × page_size, n_kv_heads, head_dim_v]
//   in   batch_info   Sequence [B], then ALiBi slopes [B or 1, n_heads], then sinks [n_heads], as f32
//   in   items        [items]  Item       heaviest first
//   in   block_table  [B, table_width]    page of every page_size keys; only with PAGED
//   out  out          [tokens, n_heads, head_dim_v]                           see out_rows; with SPLIT [parts, ...]
//   out  lse          [n_heads, tokens]   f32                                 ln(sum(exp(score))); with SPLIT (maximum, total) [parts, n_heads]
//
// A row is one query token of one query head. The `group` heads that share a kv head are packed as neighbouring rows, so
// a workgroup reads a tile of keys and values once for all of them. One workgroup takes one item of one kv head:
// TILE_ROWS rows against every tile of TILE_KEYS keys that any of its rows can see, or those of a chunk (see attention).
//
// Invocation (team, lane): team owns rows team + r * TEAMS, r < ROWS; in a tile of keys its lane owns keys 4 lane .. +3,
// and in the output the quads (four neighbouring dims) lane + c * LANES, c < COLS. With s the scores in base 2,
//   m' = max(m, max s)   p = 2^(s - m')   l' = l 2^(m - m') + sum p   o' = o 2^(m - m') + p v      out = o / l
//
// Stages for each tile of keys:
//   1 scores   2 mask, row maximum   3 weights p, rescale   4 values
//
// Variants:
//   those of octets, key_offsets, out_rows, attention and lanes; with SUBGROUPS a team lies within a subgroup
//   Q_RESIDENT   queries stay in workgroup memory; else each slice (SLICE_QUADS quads of dims) is staged with its keys
//   F16_TILES    workgroup memory holds f16
//   BROADCAST    a team is a whole subgroup, whose lanes share queries and weights

import package::shared::attention::{
  params, Job, item_index, job_of, token_of, head_of, band_of, RowMask, mask_of, scores_of, sees, largest_of,
  tiles_of, Sums, with_sink, out_scale_of, out_row, write_lse_of,
};
import package::shared::band::Band;
import package::shared::key_offsets::{find_offsets, k_offset, v_offset, has_page, have_pages};
import package::shared::lanes::{
  MANY, ROLLED_LOOP, invocation_by_subgroup, number_subgroups, max_of_lanes, sum_of_lanes,
};
import package::shared::octets::{Octet, q_octet, k_octet, v_octet};
import package::shared::out_rows::write_quad;
import package::shared::scores::{MASKED, NO_MAXIMUM};
import constants::{
  WG_SIZE, TILE_KEYS, TEAMS, LANES, ROWS, COLS, OWN_ROWS, HEAD_QUADS, SLICE_QUADS, VALUE_KEYS,
};

@if(F16_TILES) enable f16;
@if(SUBGROUPS) enable subgroups;

const TILE_ROWS = TEAMS * ROWS;
const SLICES = HEAD_QUADS / SLICE_QUADS;
@if(Q_RESIDENT)  const Q_QUADS = HEAD_QUADS;
@if(!Q_RESIDENT) const Q_QUADS = SLICE_QUADS;
const VALUE_QUADS = COLS * LANES;
const VALUE_STEPS = TILE_KEYS / VALUE_KEYS;
// One entry more than the rows or keys in a line, so that a column of the tile falls on different banks.
const Q_LINE = TILE_ROWS + 1;
const K_LINE = TILE_KEYS + 1;
const KV_SIZE = max(SLICE_QUADS * K_LINE, VALUE_KEYS * VALUE_QUADS);
// Invocations load octets, eight elements: 16 bytes of halves, twice 16 of f32.
const SLICE_OCTETS = SLICE_QUADS / 2;
const VALUE_OCTETS = (VALUE_QUADS + 1) / 2;

@if(F16_TILES)  alias Quad = vec4h;
@if(!F16_TILES) alias Quad = vec4f;

var<workgroup> q_tile: array<Quad, Q_QUADS * Q_LINE>;                  // [quad][row]
var<workgroup> kv_tile: array<Quad, KV_SIZE>;                          // keys [quad][4 lane + x at x LANES + lane], values [key][quad]
@if(!BROADCAST) var<workgroup> p_tile: array<Quad, LANES * Q_LINE>;    // weights of four keys [lane][row]
@if(!SUBGROUPS) var<workgroup> lane_value: array<f32, LANES * Q_LINE>; // a lane's maximum or total of each row

@compute @workgroup_size(WG_SIZE)
fn attn_prefill(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
  @if(SUBGROUPS) @builtin(subgroup_size) subgroup_size: u32,
  @if(SUBGROUPS) @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
  let workgroup_index = workgroup_id.y * grid.x + workgroup_id.x;
  if (item_index(workgroup_index) >= params.end_item) { return; }
  let job = job_of(workgroup_index, TILE_ROWS);
  if (job.first_row >= job.n_rows) { return; }
  let sequence = job.sequence;
  let n_slices = (params.head_dim + SLICE_QUADS * 4 - 1) / (SLICE_QUADS * 4);

  @if(SUBGROUPS) number_subgroups(local);
  @if(SUBGROUPS)  let invocation = invocation_by_subgroup(subgroup_size, subgroup_lane);
  @if(SUBGROUPS)  let lane = invocation % LANES;
  @if(SUBGROUPS)  let team = invocation / LANES;
  @if(!SUBGROUPS) let invocation = local;
  @if(!SUBGROUPS) let lane = invocation / TEAMS;
  @if(!SUBGROUPS) let team = invocation % TEAMS;

  // Bands move forward with the token, so the tile's first and last token bound what any of its rows sees, and what all
  // of them see.
  let first_band = band_of(sequence, token_of(job.first_row));
  let last_band = band_of(sequence, token_of(min(job.first_row + TILE_ROWS, job.n_rows) - 1u));
  let seen = Band(first_band.first, last_band.last);
  let seen_by_all = Band(last_band.first, first_band.last);

  @registers var masks: array<RowMask, ROWS>;
  @registers var maximum: array<f32, ROWS>;
  @registers var total: array<f32, ROWS>;
  @registers var acc: array<array<vec4f, COLS>, ROWS>;
  @unroll for (var r = 0u; r < ROWS; r++) {
    masks[r] = mask_of(job, job.first_row + team + r * TEAMS);
    maximum[r] = NO_MAXIMUM;
  }

  @if(Q_RESIDENT) {
    for (var slice = 0u; slice < SLICES; slice++) {
      if (slice >= n_slices) { break; }
      stage_queries(job, slice, slice, invocation);
    }
  }

  let tiles = tiles_of(job.item, seen, TILE_KEYS);
  @if(PAGED) {
    find_offsets(sequence, seen, tiles.first, invocation);
    workgroupBarrier();
  }
  for (var tile = tiles.first; tile < MANY; tile++) {
    if (tile >= tiles.end) { break; }
    let first_key = tile * TILE_KEYS;

    // 1 scores: s[r] holds the scores of this lane's four keys
    @registers var s: array<vec4f, ROWS>;
    for (var slice = 0u; slice < SLICES; slice++) {
      if (slice >= n_slices) { break; }
      @if(!Q_RESIDENT) stage_queries(job, slice, 0u, invocation);
      stage_keys(job, tile, seen, slice, invocation);
      workgroupBarrier();
      for (var quad = 0u; quad < SLICE_QUADS; quad++) {
        let k0 = vec4f(kv_tile[quad * K_LINE + lane]);
        let k1 = vec4f(kv_tile[quad * K_LINE + LANES + lane]);
        let k2 = vec4f(kv_tile[quad * K_LINE + 2 * LANES + lane]);
        let k3 = vec4f(kv_tile[quad * K_LINE + 3 * LANES + lane]);
        @if(Q_RESIDENT)  let line = (slice * SLICE_QUADS + quad) * Q_LINE + team;
        @if(!Q_RESIDENT) let line = quad * Q_LINE + team;
        @if(BROADCAST) @registers var own: array<vec4f, OWN_ROWS>;
        @if(BROADCAST) {
          @unroll for (var i = 0u; i < OWN_ROWS; i++) { own[i] = vec4f(q_tile[line + (i * LANES + lane) * TEAMS]); }
        }
        @unroll for (var r = 0u; r < ROWS; r++) {
          @if(BROADCAST)  let q4 = subgroupBroadcast(own[r / LANES], r % LANES);
          @if(!BROADCAST) let q4 = vec4f(q_tile[line + r * TEAMS]);
          s[r] += vec4f(dot(q4, k0), dot(q4, k1), dot(q4, k2), dot(q4, k3));
        }
      }
      if (slice + 1u < n_slices) { workgroupBarrier(); }  // the next slice overwrites this one
    }

    // 2 mask, row maximum
    let key = vec4i(i32(first_key + lane * 4u)) + vec4i(0, 1, 2, 3);
    var is_partial = i32(first_key) < seen_by_all.first || i32(first_key + TILE_KEYS) - 1 > seen_by_all.last;
    @if(PAGED) let is_there = have_pages(tile, lane);
    @if(PAGED) is_partial |= !all(is_there);
    @registers var previous: array<f32, ROWS>;
    @unroll for (var r = 0u; r < ROWS; r++) {
      s[r] = scores_of(s[r], key, masks[r]);
      if (is_partial) {
        var is_seen = sees(masks[r], key);
        @if(PAGED) is_seen &= is_there;
        s[r] = select(vec4f(MASKED), s[r], is_seen);
      }
      previous[r] = maximum[r];
      maximum[r] = max(maximum[r], largest_of(s[r]));
      @if(!SUBGROUPS) lane_value[lane * Q_LINE + team + r * TEAMS] = maximum[r];
    }
    workgroupBarrier();  // lanes have stored their maxima, and read the keys, which values may overwrite now
    @if(PAGED) find_offsets(sequence, seen, tile + 1u, invocation);

    // 3 weights, rescale
    @unroll for (var r = 0u; r < ROWS; r++) {
      maximum[r] = max_of_row(team + r * TEAMS, maximum[r]);
      let p = exp2(s[r] - maximum[r]);
      @if(BROADCAST)  s[r] = p;
      @if(!BROADCAST) p_tile[lane * Q_LINE + team + r * TEAMS] = Quad(p);
      let rescale = exp2(previous[r] - maximum[r]);
      total[r] = total[r] * rescale + dot(p, vec4f(1));
      @unroll for (var c = 0u; c < COLS; c++) { acc[r][c] *= rescale; }
    }

    // 4 values
    for (var step = 0u; step < VALUE_STEPS; step++) {
      if (i32(first_key + step * VALUE_KEYS) > seen.last) { break; }
      stage_values(job, tile, seen, step * VALUE_KEYS, invocation);
      workgroupBarrier();
      for (var four = 0u; four < VALUE_KEYS / 4; four++) {
        let line = four * 4 * VALUE_QUADS + lane;
        @registers var p: array<vec4f, ROWS>;
        let owner = step * (VALUE_KEYS / 4) + four;  // the lane that has the weights of these keys
        @unroll for (var r = 0u; r < ROWS; r++) {
          @if(BROADCAST)  p[r] = subgroupShuffle(s[r], owner);
          @if(!BROADCAST) p[r] = vec4f(p_tile[owner * Q_LINE + team + r * TEAMS]);
        }
        @unroll for (var c = 0u; c < COLS; c++) {
          let v0 = vec4f(kv_tile[line + c * LANES]);
          let v1 = vec4f(kv_tile[line + c * LANES + VALUE_QUADS]);
          let v2 = vec4f(kv_tile[line + c * LANES + 2 * VALUE_QUADS]);
          let v3 = vec4f(kv_tile[line + c * LANES + 3 * VALUE_QUADS]);
          // Transposed: of each dim, the values of the four keys.
          let t0 = vec4f(v0.x, v1.x, v2.x, v3.x);
          let t1 = vec4f(v0.y, v1.y, v2.y, v3.y);
          let t2 = vec4f(v0.z, v1.z, v2.z, v3.z);
          let t3 = vec4f(v0.w, v1.w, v2.w, v3.w);
          @unroll for (var r = 0u; r < ROWS; r++) {
            acc[r][c] += vec4f(dot(p[r], t0), dot(p[r], t1), dot(p[r], t2), dot(p[r], t3));
          }
        }
      }
      workgroupBarrier();
    }
  }

  // Each lane has summed the weights of its own keys.
  @if(!SUBGROUPS) {
    @unroll for (var r = 0u; r < ROWS; r++) { lane_value[lane * Q_LINE + team + r * TEAMS] = total[r]; }
    workgroupBarrier();
  }
  @unroll for (var r = 0u; r < ROWS; r++) {
    let sums = Sums(maximum[r], total_of_row(team + r * TEAMS, total[r]));
    let row = job.first_row + team + r * TEAMS;
    if (row < job.n_rows) {
      let head = head_of(job, row);
      let sums_with_sink = with_sink(sums, head);
      let out_scale = out_scale_of(sums, sums_with_sink);
      let row_at = out_row(job, token_of(row), head);
      @unroll for (var c = 0u; c < COLS; c++) { write_quad(row_at, (lane + c * LANES) * 4u, params.head_dim_v, acc[r][c] * out_scale); }
      if (lane == 0u) { write_lse_of(job, token_of(row), head, sums_with_sink); }
    }
  }
}

// The maximum over the lanes that share a row. Without subgroups they have stored theirs in lane_value.
fn max_of_row(tile_row: u32, own: f32) -> f32 {
  @if(SUBGROUPS) return max_of_lanes(own);
  @if(!SUBGROUPS) {
    let row = tile_row % TILE_ROWS;  // shows compilers that indices are within bounds
    var largest = own;
    for (var lane = 0u; lane < LANES; lane++) { largest = max(largest, lane_value[lane * Q_LINE + row]); }
    return largest;
  }
}

// The sum over the lanes that share a row, likewise.
fn total_of_row(tile_row: u32, own: f32) -> f32 {
  @if(SUBGROUPS) return sum_of_lanes(own);
  @if(!SUBGROUPS) {
    let row = tile_row % TILE_ROWS;  // shows compilers that indices are within bounds
    var sum = 0.0;
    for (var lane = 0u; lane < LANES; lane++) { sum += lane_value[lane * Q_LINE + row]; }
    return sum;
  }
}

// Loads a slice of the queries into place `place` of q_tile. Query rows past the end are staged as zeros.
fn stage_queries(job: Job, slice: u32, place: u32, invocation: u32) {
  for (var step = 0u; step < max((TILE_ROWS * SLICE_OCTETS + WG_SIZE - 1) / WG_SIZE, ROLLED_LOOP); step++) {
    let index = step * WG_SIZE + invocation;
    if (index >= TILE_ROWS * SLICE_OCTETS) { break; }
    let tile_row = index / SLICE_OCTETS;
    let octet = index % SLICE_OCTETS;
    let dim = (slice * SLICE_OCTETS + octet) * 8u;
    let row = job.first_row + tile_row;
    var elements = Octet(vec4f(), vec4f());
    if (row < job.n_rows && dim < params.head_dim) {
      let q_at = job.sequence.q_base + token_of(row) * params.q_token + head_of(job, row) * params.q_head;
      elements = q_octet(q_at + dim, params.head_dim - dim);
    }
    let at = (place * SLICE_QUADS + octet * 2u) * Q_LINE + tile_row;
    q_tile[at] = Quad(elements.low);
    q_tile[at + Q_LINE] = Quad(elements.high);
  }
}

// Loads a slice of the keys of a tile into kv_tile. Keys and values that no row of the tile sees are staged as zeros,
// and so are values without a page: their memory may hold anything, and 0 · NaN is NaN.
fn stage_keys(job: Job, tile: u32, seen: Band, slice: u32, invocation: u32) {
  for (var step = 0u; step < max((TILE_KEYS * SLICE_OCTETS + WG_SIZE - 1) / WG_SIZE, ROLLED_LOOP); step++) {
    let index = step * WG_SIZE + invocation;
    if (index >= TILE_KEYS * SLICE_OCTETS) { break; }
    let tile_key = index / SLICE_OCTETS;
    let octet = index % SLICE_OCTETS;
    let dim = (slice * SLICE_OCTETS + octet) * 8u;
    let key = i32(tile * TILE_KEYS + tile_key);
    var elements = Octet(vec4f(), vec4f());
    if (key >= seen.first && key <= seen.last && dim < params.head_dim) {
      elements = k_octet(k_offset(job.sequence, seen, tile, tile_key) + job.kv_head * params.k_head + dim, params.head_dim - dim);
    }
    let at = octet * 2u * K_LINE + tile_key % 4u * LANES + tile_key / 4u;
    kv_tile[at] = Quad(elements.low);
    kv_tile[at + K_LINE] = Quad(elements.high);
  }
}

// Loads VALUE_KEYS values of a tile into kv_tile.
fn stage_values(job: Job, tile: u32, seen: Band, first_key: u32, invocation: u32) {
  for (var step = 0u; step < max((VALUE_KEYS * VALUE_OCTETS + WG_SIZE - 1) / WG_SIZE, ROLLED_LOOP); step++) {
    let index = step * WG_SIZE + invocation;
    if (index >= VALUE_KEYS * VALUE_OCTETS) { break; }
    let tile_key = first_key + index / VALUE_OCTETS;
    let octet = index % VALUE_OCTETS;
    let dim = octet * 8u;
    let key = i32(tile * TILE_KEYS + tile_key);
    var elements = Octet(vec4f(), vec4f());
    let row = v_offset(job.sequence, seen, tile, tile_key);
    if (key >= seen.first && key <= seen.last && dim < params.head_dim_v && has_page(row)) {
      elements = v_octet(row + job.kv_head * params.v_head + dim, params.head_dim_v - dim);
    }
    let at = index / VALUE_OCTETS * VALUE_QUADS + octet * 2u;
    kv_tile[at] = Quad(elements.low);
    if (octet * 2u + 1u < VALUE_QUADS) { kv_tile[at + 1u] = Quad(elements.high); }
  }
}
