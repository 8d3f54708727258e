// attn_prefill: attention of many query rows over contiguous or paged keys and values, in one pass (FlashAttention).
//
//   in   q            [tokens, n_heads, head_dim]                             any strides; see octets
//   in   k            [tokens or pages × page_size, n_kv_heads, head_dim]
//   in   v            [tokens or pages × page_size, n_kv_heads, head_dim_v]
//   in   batch_info   Sequence [B], ALiBi slopes [B or 1, n_heads] and sinks [n_heads] as f32, ...; see batch_info
//                     Item [items], heaviest first, from items_at on
//   in   block_table  [B, table_width]    page of every page_size keys; only with PAGED
//   in   mask, bias   [B or 1, n_heads or 1, tokens, words or keys]           see dense_masks; with MASK, BIAS
//   out  out          [tokens, n_heads, head_dim_v]                           see out_rows; with SPLIT [parts, ...] f32
//                     (maximum, total, 0, 0) [parts, n_heads]  f32              behind them, only with SPLIT
//   out  lse          [n_heads, tokens]   f32                                 ln(sum(exp(score))); only with LSE, not SPLIT
//
// A row is one query token of one query head. The `group` heads that share a kv head are packed as neighbouring rows, so
// a workgroup reads a tile of keys and values once for all of them. One workgroup takes one item of one kv head:
// TILE_ROWS rows against every tile of TILE_KEYS keys that any of its rows can see, or those of a chunk (see attention).
//
// Invocation (team, lane): team owns rows team + r * TEAMS, r < ROWS; in a tile of keys its lane owns KEYS neighbours,
// from KEYS lane on, and in the output the quads (four neighbouring dims) lane + c * LANES, c < COLS. So the scores of a
// tile are an outer product, ROWS × KEYS in the registers of each invocation, and each quad that it loads from workgroup
// memory serves all of its rows, or all of its keys. With s the scores in base 2,
//   m' = max(m, max s)   p = 2^(s - m')   l' = l 2^(m - m') + sum p   o' = o 2^(m - m') + p v      out = o / l
//
// Stages for each tile of keys:
//   1 scores    a slice of the head at a time: queries and keys are staged, then multiplied
//   2 mask, row maximum
//   3 weights p, rescale
//   4 values    VALUE_KEYS at a time: they and their weights are staged, then multiplied
//
// Variants:
//   those of octets, key_offsets, dense_masks, out_rows, attention and lanes; with SUBGROUPS a team lies within a subgroup
//   Q_RESIDENT   queries stay in workgroup memory; else each slice (SLICE_QUADS quads of dims) is staged with its keys
//   F16_TILES    workgroup memory holds f16; only with SUBGROUPS
//   HIDES        (see attention) once a value that is not finite has been staged, those without weight count as zeros
//   BROADCAST    a team is a whole subgroup, whose lanes share queries and weights
//
// Of a quantised cache (see octets) elements are multiplied by their scales as they are staged, once for all rows.

import package::shared::attention::{
  params, Job, item_index, job_of, token_of, head_of, rows_seen, RowMask, mask_of, scores_of, sees, largest_of,
  tiles_of, Sums, with_sink, out_scale_of, out_row, write_lse_of,
};
@if(SCORE_MOD) import package::shared::attention::modified;
@if(MASK_MOD) import package::shared::attention::lets_see_by_mod;
import package::shared::band::{Band, has_all_of, has_any_of, last_of};
@if(MASK) import package::shared::dense_masks::{mask_bits, are_set};
@if(BIAS) import package::shared::dense_masks::{bias_of, biased};
import package::shared::key_offsets::{find_offsets, first_key_of, k_offset, v_offset, has_page, have_pages};
@if(KV_QUANTISED) import package::shared::kv_scales::{key_scale, value_scale};
import package::shared::lanes::{
  MANY, ROLLED_LOOP, invocation_by_subgroup, number_subgroups, max_of_lanes, sum_of_lanes,
};
import package::shared::octets::{Octet, q_octet, k_octet, v_octet};
@if(HIDES) import package::shared::octets::largest_bits;
@if(KV_QUANTISED) import package::shared::octets::scaled_octet;
import package::shared::out_rows::write_quad;
@if(LINKED) import package::shared::tile_links::{first_visited, is_full, links_at, visited_after};
import package::shared::scores::{MASKED, NO_MAXIMUM};
import constants::{
  WG_SIZE, TILE_KEYS, TEAMS, LANES, ROWS, ROW_QUADS, KEYS, KEY_QUADS, COLS, OWN_ROWS, HEAD_QUADS, SLICE_QUADS, VALUE_KEYS,
};

@if(F16_TILES) enable f16;
@if(SUBGROUPS) enable subgroups;

const TILE_ROWS = TEAMS * ROWS;
const SLICES = HEAD_QUADS / SLICE_QUADS;
const VALUE_QUADS = COLS * LANES;
const VALUE_STEPS = TILE_KEYS / VALUE_KEYS;
// Lanes whose weights are staged together.
const WEIGHT_LANES = VALUE_KEYS / KEYS;
// One entry more than the rows or keys in a line, so that a column of the tile falls on different banks.
const ROW_LINE = TILE_ROWS + 1;
const KEY_LINE = TILE_KEYS + 1;
// Weights lie behind the queries if these stay, else in their place, as they are staged anew for the next tile.
@if(Q_RESIDENT)  const WEIGHTS_AT = HEAD_QUADS * ROW_LINE;
@if(!Q_RESIDENT) const WEIGHTS_AT = 0;
@if(BROADCAST)   const WEIGHT_QUADS = 0;
@if(!BROADCAST)  const WEIGHT_QUADS = VALUE_KEYS / 4;
@if(Q_RESIDENT)  const Q_QUADS = HEAD_QUADS;
@if(!Q_RESIDENT) const Q_QUADS = SLICE_QUADS;
const ROWS_SIZE = max(Q_QUADS * ROW_LINE, WEIGHTS_AT + WEIGHT_QUADS * ROW_LINE);
// Keys, then one number of each lane and row, then values.
@if(SUBGROUPS)  const KV_SIZE = max(SLICE_QUADS * KEY_LINE, VALUE_KEYS * VALUE_QUADS);
@if(!SUBGROUPS) const KV_SIZE = max(max(SLICE_QUADS * KEY_LINE, VALUE_KEYS * VALUE_QUADS), LANES * ROW_QUADS * TEAMS);
// Invocations load octets, eight elements: 16 bytes of halves, twice 16 of f32.
const SLICE_OCTETS = SLICE_QUADS / 2;
const VALUE_OCTETS = (VALUE_QUADS + 1) / 2;
// In row_offsets, of a row past the end.
const NO_ROW = 0xffffffffu;
// The bits of the largest number of a tile: f16 has 65504.
@if(HIDES && F16_TILES)  const LARGEST_BITS = 0x477fe000u;
@if(HIDES && !F16_TILES) const LARGEST_BITS = 0x7f7fffffu;

@if(F16_TILES)  alias Quad = vec4h;
@if(!F16_TILES) alias Quad = vec4f;
@if(PAGED)      alias Flags = vec4<bool>;

var<workgroup> row_tile: array<Quad, ROWS_SIZE>;       // queries [quad][row], weights of four keys [quad][row]
var<workgroup> kv_tile: array<Quad, KV_SIZE>;          // keys [quad][KEYS lane + x at x LANES + lane], values [key][quad]
var<workgroup> row_offsets: array<u32, TILE_ROWS>;     // where the queries begin in q
var<workgroup> row_bands: array<vec2i, TILE_ROWS>;     // the first and last key that rows see

// Whether any value so far was not finite. Only the first counts: see lanes.
@if(HIDES) var<workgroup> not_finite: array<atomic<u32>, 4>;

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

  // Minima show compilers that indices are within bounds, see attn_matrix.
  @if(SUBGROUPS) number_subgroups(local);
  @if(SUBGROUPS)  let invocation = min(invocation_by_subgroup(subgroup_size, subgroup_lane), WG_SIZE - 1u);
  @if(SUBGROUPS)  let lane = min(invocation % LANES, LANES - 1u);
  @if(SUBGROUPS)  let team = min(invocation / LANES, TEAMS - 1u);
  @if(!SUBGROUPS) let lane = min(local / TEAMS, LANES - 1u);
  @if(!SUBGROUPS) let team = min(local % TEAMS, TEAMS - 1u);

  let rows = rows_seen(job, TILE_ROWS);
  let seen = rows.by_any;

  @registers var maximum: array<vec4f, ROW_QUADS>;
  @registers var total: array<vec4f, ROW_QUADS>;
  @registers var acc: array<array<vec4f, COLS>, ROWS>;
  @unroll for (var i = 0u; i < ROW_QUADS; i++) { maximum[i] = vec4f(NO_MAXIMUM); }

  let tiles = tiles_of(job.item, seen, TILE_KEYS);
  find_rows(job, local);
  @if(HIDES) if (local == 0u) { atomicStore(&not_finite[0], 0u); }
  @if(LINKED)  let links = links_at(item_index(workgroup_index), job.kv_head);
  @if(LINKED)  let first_tile = first_visited(links, tiles);
  @if(!LINKED) let first_tile = tiles.first;
  @if(PAGED) find_offsets(sequence, seen, first_tile, local);
  workgroupBarrier();
  @if(Q_RESIDENT) {
    for (var slice = 0u; slice < SLICES; slice++) {
      if (slice >= n_slices) { break; }
      stage_queries(slice, slice, local);
    }
  }

  for (var tile = first_tile; tile < MANY; tile++) {
    if (tile >= tiles.end) { break; }
    @if(LINKED)  let next_tile = visited_after(links, tiles, tile);
    @if(!LINKED) let next_tile = tile + 1u;
    let first_key = first_key_of(seen, tile);

    // 1 scores: s[r][h] holds those of the lane's keys 4 h .. 4 h + 3
    @registers var s: array<array<vec4f, KEY_QUADS>, ROWS>;
    for (var slice = 0u; slice < SLICES; slice++) {
      if (slice >= n_slices) { break; }
      @if(!Q_RESIDENT) stage_queries(slice, 0u, local);
      stage_keys(job, tile, seen, slice, local);
      workgroupBarrier();
      for (var quad = 0u; quad < SLICE_QUADS; quad++) {
        let key_line = quad * KEY_LINE + lane;
        @if(Q_RESIDENT)  let row_line = (slice * SLICE_QUADS + quad) * ROW_LINE + team;
        @if(!Q_RESIDENT) let row_line = quad * ROW_LINE + team;
        @registers var k: array<Four, KEY_QUADS>;
        @unroll for (var h = 0u; h < KEY_QUADS; h++) { k[h] = transposed(four_of(key_line + h * 4u * LANES, LANES)); }
        @if(BROADCAST) @registers var own: array<vec4f, OWN_ROWS>;
        @if(BROADCAST) {
          @unroll for (var i = 0u; i < OWN_ROWS; i++) { own[i] = vec4f(row_tile[row_line + (i * LANES + lane) * TEAMS]); }
        }
        @unroll for (var r = 0u; r < ROWS; r++) {
          @if(BROADCAST)  let q4 = subgroupBroadcast(own[r / LANES], r % LANES);
          @if(!BROADCAST) let q4 = vec4f(row_tile[row_line + r * TEAMS]);
          @unroll for (var h = 0u; h < KEY_QUADS; h++) { s[r][h] = add_products(s[r][h], q4, k[h]); }
        }
      }
      workgroupBarrier();  // the next slice, maxima or values overwrite this one
    }

    // 2 mask, row maximum
    let lane_key = first_key + lane * KEYS;
    var has_hidden = !has_all_of(rows.by_all, i32(first_key), i32(first_key + TILE_KEYS) - 1);
    @if(PAGED) @registers var is_there: array<Flags, KEY_QUADS>;
    @if(PAGED) {
      @unroll for (var h = 0u; h < KEY_QUADS; h++) {
        is_there[h] = have_pages(tile, lane * KEY_QUADS + h);
        has_hidden |= !all(is_there[h]);
      }
    }
    @if(LINKED) has_hidden |= !is_full(links, tiles, tile);
    @if((MASK || BLOCKS || MASK_MOD) && !LINKED) has_hidden = true;
    @registers var previous: array<vec4f, ROW_QUADS>;
    @unroll for (var i = 0u; i < ROW_QUADS; i++) { previous[i] = maximum[i]; }
    @unroll for (var r = 0u; r < ROWS; r++) {
      @if(ALIBI || MASK || BIAS || BLOCKS || FIRST_KEYS || BY_TOKEN || MODS) let mask = mask_of(job, job.first_row + team + r * TEAMS);
      @if(!ALIBI && !MASK && !BIAS && !BLOCKS && !FIRST_KEYS && !BY_TOKEN && !MODS) let band = row_bands[team + r * TEAMS];
      @if(!ALIBI && !MASK && !BIAS && !BLOCKS && !FIRST_KEYS && !BY_TOKEN && !MODS) let mask = RowMask(Band(band.x, band.y));
      @unroll for (var h = 0u; h < KEY_QUADS; h++) {
        let key = vec4i(i32(lane_key + h * 4u)) + vec4i(0, 1, 2, 3);
        s[r][h] = scores_of(s[r][h], key, mask);
        @if(BIAS) s[r][h] = biased(s[r][h], bias_of(mask.bias_row, lane_key + h * 4u, sequence.k_len));
        @if(SCORE_MOD) s[r][h] = modified(s[r][h], key, mask);
        if (has_hidden) {
          var is_seen = sees(mask, key);
          @if(PAGED) is_seen &= is_there[h];
          @if(MASK) is_seen &= are_set(mask_bits(mask.mask_row, lane_key + h * 4u, sequence.k_len));
          @if(MASK_MOD) is_seen &= lets_see_by_mod(mask, key);
          s[r][h] = select(vec4f(MASKED), s[r][h], is_seen);
        }
        maximum[r / 4][r % 4] = max(maximum[r / 4][r % 4], largest_of(s[r][h]));
      }
    }
    @if(PAGED) find_offsets(sequence, seen, next_tile, local);
    @if(SUBGROUPS) {
      @unroll for (var r = 0u; r < ROWS; r++) { maximum[r / 4][r % 4] = max_of_lanes(maximum[r / 4][r % 4]); }
    }
    @if(!SUBGROUPS) {
      @unroll for (var i = 0u; i < ROW_QUADS; i++) { put_number(lane, team, i, maximum[i]); }
      workgroupBarrier();
      @unroll for (var i = 0u; i < ROW_QUADS; i++) { maximum[i] = max_of_numbers(team, i); }
      workgroupBarrier();  // values overwrite the lanes' maxima
    }

    // 3 weights, rescale
    @unroll for (var r = 0u; r < ROWS; r++) {
      let rescale = exp2(previous[r / 4][r % 4] - maximum[r / 4][r % 4]);
      var sum = 0.0;
      @unroll for (var h = 0u; h < KEY_QUADS; h++) {
        s[r][h] = exp2(s[r][h] - maximum[r / 4][r % 4]);
        sum += dot(s[r][h], vec4f(1));
      }
      total[r / 4][r % 4] = total[r / 4][r % 4] * rescale + sum;
      @unroll for (var c = 0u; c < COLS; c++) { acc[r][c] *= rescale; }
    }

    // 4 values
    for (var step = 0u; step < VALUE_STEPS; step++) {
      if (i32(first_key + step * VALUE_KEYS) > last_of(seen)) { break; }
      let first_lane = step * WEIGHT_LANES;
      @if(!BROADCAST) {
        if (lane >= first_lane && lane < first_lane + WEIGHT_LANES) {
          let line = (lane - first_lane) % WEIGHT_LANES * KEY_QUADS * ROW_LINE + team;
          @unroll for (var r = 0u; r < ROWS; r++) {
            @unroll for (var h = 0u; h < KEY_QUADS; h++) {
              row_tile[WEIGHTS_AT + line + h * ROW_LINE + r * TEAMS] = Quad(s[r][h]);
            }
          }
        }
      }
      stage_values(job, tile, seen, step * VALUE_KEYS, local);
      workgroupBarrier();
      @if(HIDES) let leaves_out = atomicLoad(&not_finite[0]) != 0u;
      for (var owner = 0u; owner < WEIGHT_LANES; owner++) {  // the lanes that have the weights of these keys
        @unroll for (var h = 0u; h < KEY_QUADS; h++) {
          @registers var p: array<vec4f, ROWS>;
          @unroll for (var r = 0u; r < ROWS; r++) {
            @if(BROADCAST)  p[r] = subgroupShuffle(s[r][h], first_lane + owner);
            @if(!BROADCAST) p[r] = vec4f(row_tile[WEIGHTS_AT + (owner * KEY_QUADS + h) * ROW_LINE + r * TEAMS + team]);
          }
          @if(HIDES) var has_weight = vec4<bool>();
          @if(HIDES) {
            if (leaves_out) {
              var weight_bits = vec4u();
              @unroll for (var r = 0u; r < ROWS; r++) { weight_bits |= bitcast<vec4u>(p[r]); }
              has_weight = weight_bits != vec4u();
            }
          }
          @unroll for (var c = 0u; c < COLS; c++) {
            @if(!HIDES) let v = four_of((owner * KEYS + h * 4u) * VALUE_QUADS + c * LANES + lane, VALUE_QUADS);
            @if(HIDES) var v = four_of((owner * KEYS + h * 4u) * VALUE_QUADS + c * LANES + lane, VALUE_QUADS);
            @if(HIDES) if (leaves_out) { v = kept(v, has_weight); }
            @unroll for (var r = 0u; r < ROWS; r++) { acc[r][c] = add_products(acc[r][c], p[r], v); }
          }
        }
      }
      workgroupBarrier();  // the next values and weights overwrite these, or the next tile does
    }
    @if(LINKED) tile = next_tile - 1u;
  }

  // Each lane has summed the weights of its own keys.
  @if(SUBGROUPS) {
    @unroll for (var r = 0u; r < ROWS; r++) { total[r / 4][r % 4] = sum_of_lanes(total[r / 4][r % 4]); }
  }
  @if(!SUBGROUPS) {
    @unroll for (var i = 0u; i < ROW_QUADS; i++) { put_number(lane, team, i, total[i]); }
    workgroupBarrier();
    @unroll for (var i = 0u; i < ROW_QUADS; i++) { total[i] = sum_of_numbers(team, i); }
  }
  @if(!ROLLED) {
    @unroll for (var r = 0u; r < ROWS; r++) {
      let row = job.first_row + team + r * TEAMS;
      if (row < job.n_rows) {
        let to = finish_row(job, row, lane, Sums(maximum[r / 4][r % 4], total[r / 4][r % 4]));
        @unroll for (var c = 0u; c < COLS; c++) { write_quad(to.at, (lane + c * LANES) * 4u, params.head_dim_v, acc[r][c] * to.scale); }
      }
    }
  }
  // CPUs have these arrays in memory anyway, and their compilers take longer than all the rest for a copy of the writes
  // for each row.
  @if(ROLLED) {
    var sums = array<Sums, ROWS>();
    var outputs = array<vec4f, ROWS * COLS>();
    @unroll for (var r = 0u; r < ROWS; r++) {
      sums[r] = Sums(maximum[r / 4][r % 4], total[r / 4][r % 4]);
      @unroll for (var c = 0u; c < COLS; c++) { outputs[r * COLS + c] = acc[r][c]; }
    }
    for (var r = 0u; r < max(ROWS, ROLLED_LOOP); r++) {
      let row = job.first_row + team + r * TEAMS;
      if (r >= ROWS || row >= job.n_rows) { break; }
      let to = finish_row(job, row, lane, sums[r]);
      for (var c = 0u; c < max(COLS, ROLLED_LOOP); c++) {
        if (c >= COLS) { break; }
        write_quad(to.at, (lane + c * LANES) * 4u, params.head_dim_v, outputs[r * COLS + c] * to.scale);
      }
    }
  }
}

// Where a row of the output begins, and the factor that turns its sums into outputs.
struct RowEnd {
  at: u32,
  scale: f32,
}

// Writes the lse of a row, if it is asked for.
fn finish_row(job: Job, row: u32, lane: u32, sums: Sums) -> RowEnd {
  let head = head_of(job, row);
  let sums_with_sink = with_sink(sums, head);
  @if(LSE) if (lane == 0u) { write_lse_of(job, token_of(row), head, sums_with_sink); }
  return RowEnd(out_row(job, token_of(row), head), out_scale_of(sums, sums_with_sink));
}

// Four quads of kv_tile: of neighbouring keys the same dims, or of neighbouring values.
struct Four {
  a: vec4f,
  b: vec4f,
  c: vec4f,
  d: vec4f,
}

fn four_of(first: u32, stride: u32) -> Four {
  return Four(
    vec4f(kv_tile[first]), vec4f(kv_tile[first + stride]),
    vec4f(kv_tile[first + 2u * stride]), vec4f(kv_tile[first + 3u * stride]),
  );
}

// Those that are to be kept, and zeros.
@if(HIDES) fn kept(x: Four, keeps: vec4<bool>) -> Four {
  return Four(
    select(vec4f(), x.a, keeps.x), select(vec4f(), x.b, keeps.y),
    select(vec4f(), x.c, keeps.z), select(vec4f(), x.d, keeps.w),
  );
}

fn transposed(x: Four) -> Four {
  return Four(
    vec4f(x.a.x, x.b.x, x.c.x, x.d.x), vec4f(x.a.y, x.b.y, x.c.y, x.d.y),
    vec4f(x.a.z, x.b.z, x.c.z, x.d.z), vec4f(x.a.w, x.b.w, x.c.w, x.d.w),
  );
}

// sum + factors.x a + factors.y b + ...: chains of multiply-adds, as dot products would need an addition more. CPUs
// prefer the shorter chain to the sum.
fn add_products(sum: vec4f, factors: vec4f, x: Four) -> vec4f {
  @if(ROLLED) return sum + (factors.x * x.a + factors.y * x.b + factors.z * x.c + factors.w * x.d);
  @if(!ROLLED) {
    let two = fma(vec4f(factors.y), x.b, fma(vec4f(factors.x), x.a, sum));
    return fma(vec4f(factors.w), x.d, fma(vec4f(factors.z), x.c, two));
  }
}

// What lanes without subgroups exchange, in place of the keys: a number of each row, four rows of a team at a time.
@if(!SUBGROUPS) fn put_number(lane: u32, team: u32, row_quad: u32, numbers: vec4f) {
  kv_tile[(lane * ROW_QUADS + row_quad) * TEAMS + team] = numbers;
}

@if(!SUBGROUPS) fn max_of_numbers(team: u32, row_quad: u32) -> vec4f {
  var largest = vec4f(NO_MAXIMUM);
  for (var lane = 0u; lane < LANES; lane++) { largest = max(largest, kv_tile[(lane * ROW_QUADS + row_quad) * TEAMS + team]); }
  return largest;
}

@if(!SUBGROUPS) fn sum_of_numbers(team: u32, row_quad: u32) -> vec4f {
  var sum = vec4f();
  for (var lane = 0u; lane < LANES; lane++) { sum += kv_tile[(lane * ROW_QUADS + row_quad) * TEAMS + team]; }
  return sum;
}

// Looks up where the queries of each row begin, and which keys they see.
fn find_rows(job: Job, local: u32) {
  for (var step = 0u; step < (TILE_ROWS + WG_SIZE - 1) / WG_SIZE; step++) {
    let tile_row = step * WG_SIZE + local;
    if (tile_row >= TILE_ROWS) { break; }
    let row = job.first_row + tile_row;
    let q_at = job.sequence.q_base + token_of(row) * params.q_token + head_of(job, row) * params.q_head;
    row_offsets[tile_row] = select(NO_ROW, q_at, row < job.n_rows);
    @if(!BY_TOKEN) let band = mask_of(job, row).band;
    @if(!BY_TOKEN) row_bands[tile_row] = vec2i(band.first, band.last);
  }
}

// Loads a slice of the queries into place `place` of row_tile. Query rows past the end are staged as zeros.
fn stage_queries(slice: u32, place: u32, local: u32) {
  for (var step = 0u; step < max((TILE_ROWS * SLICE_OCTETS + WG_SIZE - 1) / WG_SIZE, ROLLED_LOOP); step++) {
    let index = step * WG_SIZE + local;
    if (index >= TILE_ROWS * SLICE_OCTETS) { break; }
    let tile_row = index / SLICE_OCTETS;
    let octet = index % SLICE_OCTETS;
    let dim = (slice * SLICE_OCTETS + octet) * 8u;
    let q_at = row_offsets[tile_row];
    var elements = Octet(vec4f(), vec4f());
    if (q_at != NO_ROW && dim < params.head_dim) { elements = q_octet(q_at + dim, params.head_dim - dim); }
    let at = (place * SLICE_QUADS + octet * 2u) * ROW_LINE + tile_row;
    row_tile[at] = Quad(elements.low);
    row_tile[at + ROW_LINE] = Quad(elements.high);
  }
}

// Loads a slice of the keys of a tile into kv_tile. Keys and values that no row of the tile sees are staged as zeros,
// and so are values without a page: their memory may hold anything, and 0 · NaN is NaN.
fn stage_keys(job: Job, tile: u32, seen: Band, slice: u32, local: u32) {
  for (var step = 0u; step < max((TILE_KEYS * SLICE_OCTETS + WG_SIZE - 1) / WG_SIZE, ROLLED_LOOP); step++) {
    let index = step * WG_SIZE + local;
    if (index >= TILE_KEYS * SLICE_OCTETS) { break; }
    let place = index / SLICE_OCTETS;
    let octet = index % SLICE_OCTETS;
    let tile_key = place % LANES * KEYS + place / LANES;
    let dim = (slice * SLICE_OCTETS + octet) * 8u;
    let key = i32(first_key_of(seen, tile) + tile_key);
    var elements = Octet(vec4f(), vec4f());
    if (has_any_of(seen, key, key) && dim < params.head_dim) {
      elements = k_octet(k_offset(job.sequence, seen, tile, tile_key) + job.kv_head * params.k_head + dim, params.head_dim - dim);
      @if(KV_QUANTISED) elements = scaled_octet(elements, key_scale(job.sequence, job.kv_head, seen, tile, tile_key, dim));
    }
    let at = octet * 2u * KEY_LINE + place;
    kv_tile[at] = Quad(elements.low);
    kv_tile[at + KEY_LINE] = Quad(elements.high);
  }
}

// Loads VALUE_KEYS values of a tile into kv_tile.
fn stage_values(job: Job, tile: u32, seen: Band, first_key: u32, local: u32) {
  for (var step = 0u; step < max((VALUE_KEYS * VALUE_OCTETS + WG_SIZE - 1) / WG_SIZE, ROLLED_LOOP); step++) {
    let index = step * WG_SIZE + local;
    if (index >= VALUE_KEYS * VALUE_OCTETS) { break; }
    let tile_key = first_key + index / VALUE_OCTETS;
    let octet = index % VALUE_OCTETS;
    let dim = octet * 8u;
    let key = i32(first_key_of(seen, tile) + tile_key);
    var elements = Octet(vec4f(), vec4f());
    let row = v_offset(job.sequence, seen, tile, tile_key);
    if (has_any_of(seen, key, key) && dim < params.head_dim_v && has_page(row)) {
      elements = v_octet(row + job.kv_head * params.v_head + dim, params.head_dim_v - dim);
      @if(KV_QUANTISED) elements = scaled_octet(elements, value_scale(job.sequence, job.kv_head, seen, tile, tile_key, dim));
    }
    @if(HIDES) if (largest_bits(elements) > LARGEST_BITS) { atomicStore(&not_finite[0], 1u); }
    let at = index / VALUE_OCTETS * VALUE_QUADS + octet * 2u;
    kv_tile[at] = Quad(elements.low);
    if (octet * 2u + 1u < VALUE_QUADS) { kv_tile[at + 1u] = Quad(elements.high); }
  }
}
