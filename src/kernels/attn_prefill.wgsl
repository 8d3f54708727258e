// attn_prefill: attention of many query rows over contiguous or paged keys and values, in one pass (FlashAttention).
//
//   in   q            [tokens, n_heads, head_dim]         QElem    packed words, any strides
//   in   k            [tokens or pages × page_size, n_kv_heads, head_dim]     KvElem
//   in   v            [tokens or pages × page_size, n_kv_heads, head_dim_v]   KvElem
//   in   tables       sequences [B], then ALiBi slopes [B or 1, n_heads], then sinks [n_heads]: see Params
//   in   items        [n_items]  vec2u    (sequence, row tile), heaviest first
//   in   block_table  [B, table_width]    page of every page_size keys; only with PAGED
//   out  out          [tokens, n_heads, head_dim_v]       QElem
//   out  lse          [n_heads, tokens]                   f32      ln(sum(exp(score))) of each row
//
// A row is one query token of one query head. The `group` heads that share a kv head are packed as neighbouring rows,
// so a workgroup reads a tile of keys and values once for all of them. One workgroup takes one item of one kv head:
// TILE_ROWS rows against every tile of TILE_KEYS keys that any of its rows can see.
//
// Thread (team, lane): team owns rows team + r * TEAMS, r < ROWS; in a tile of keys its lane owns keys 4 lane .. +3,
// and in the output the quads (four neighbouring dims) lane + c * LANES, c < COLS. With s the scores in base 2,
//   m' = max(m, max s)   p = 2^(s - m')   l' = l 2^(m - m') + sum p   o' = o 2^(m - m') + p v      out = o / l
//
// Stages for each tile of keys:
//   1 scores   2 mask, row maximum   3 weights p, rescale   4 values
//
// Variants:
//   Q_F16, Q_BF16, KV_F16, KV_BF16   how q (and out), k and v are stored; with Q_HALVES, KV_HALVES; none: f32
//   Q_WIDE, KV_WIDE, OUT_WIDE        rows allow 16-byte reads, writes of four elements; else element by element
//   PAGED, SOFTCAP, ALIBI            what the call asks for
//   Q_RESIDENT                       queries stay in workgroup memory; else each chunk of dims is staged with its keys
//   F16_TILES                        workgroup memory holds f16
//   SUBGROUPS                        a team lies within a subgroup: lanes exchange row maxima and totals there
//   BROADCAST                        a team is a whole subgroup: lanes share queries and weights there, too
//   ROLLED                           loops of known length are kept from being unrolled by the compiler

import package::band::{Band, visible_band};
import package::softcap::capped;
@if(Q_F16)   import package::elements::{quad_from_f16 as quad_from_q, half_from_f16 as half_from_q, f16_bits as out_bits};
@if(Q_BF16)  import package::elements::{quad_from_bf16 as quad_from_q, half_from_bf16 as half_from_q, bf16_bits as out_bits};
@if(KV_F16)  import package::elements::{quad_from_f16 as quad_from_kv, half_from_f16 as half_from_kv};
@if(KV_BF16) import package::elements::{quad_from_bf16 as quad_from_kv, half_from_bf16 as half_from_kv};
import constants::{TEAMS, LANES, LANE_BITS, ROWS, COLS, OWN_ROWS, HEAD_QUADS, CHUNK_QUADS, VALUE_KEYS};

@if(F16_TILES) enable f16;
@if(SUBGROUPS) enable subgroups;

const WG_SIZE = TEAMS * LANES;
const TILE_ROWS = TEAMS * ROWS;
const TILE_KEYS = LANES * 4;
const CHUNKS = HEAD_QUADS / CHUNK_QUADS;
@if(Q_RESIDENT)  const Q_QUADS = HEAD_QUADS;
@if(!Q_RESIDENT) const Q_QUADS = CHUNK_QUADS;
const VALUE_QUADS = COLS * LANES;
const VALUE_STEPS = TILE_KEYS / VALUE_KEYS;
// One entry more than the rows or keys in a line, so that a column of the tile falls on different banks.
const Q_LINE = TILE_ROWS + 1;
const K_LINE = TILE_KEYS + 1;
const KV_SIZE = max(CHUNK_QUADS * K_LINE, VALUE_KEYS * VALUE_QUADS);
// Threads load units of 8 elements: 16 bytes of halves, twice 16 of f32.
const CHUNK_UNITS = CHUNK_QUADS / 2;
const VALUE_UNITS = (VALUE_QUADS + 1) / 2;

// Scores that a row may not see, and where its maximum starts: finite, apart by more than any exponent can bridge.
const MASKED = -1e30;
const NO_MAXIMUM = -1e29;
const LN_2 = 0.6931471805599453;
const LOG2_E = 1.4426950408889634;
const MANY = 0x7fffffffu;  // a bound for loops that break out earlier
// Drivers that compile for a CPU unroll every short loop whose length they know, and take seconds for it.
@if(ROLLED)  const ROLLED_LOOP = MANY;
@if(!ROLLED) const ROLLED_LOOP = 0u;

struct Params {
  first_item: u32,        // of the items of the whole plan, the first of this dispatch
  n_items: u32,           // one past its last
  n_kv_heads: u32,
  group: u32,             // query heads per kv head
  head_dim: u32,
  head_dim_v: u32,
  q_token: u32,           // strides, in elements
  q_head: u32,
  k_page: u32,
  k_token: u32,
  k_head: u32,
  v_page: u32,
  v_token: u32,
  v_head: u32,
  out_token: u32,
  out_head: u32,
  lse_token: u32,
  lse_head: u32,
  page_size: u32,
  n_pages: u32,
  window_left: i32,       // -1: no bound
  window_right: i32,
  attention_chunk: i32,   // 0: none
  score_scale: f32,       // q · k to scores in base 2; with a softcap to scores / softcap
  softcap_log2: f32,      // softcap · log2(e)
  slopes_at: u32,         // first slope in tables
  slopes_sequence: u32,   // stride of a sequence: n_heads or 0
  sinks_at: u32,          // first sink in tables
  has_sinks: u32,
  has_lse: u32,
}

// A sequence of the batch: its lengths, and where its first element lies in each tensor.
struct Sequence {
  q_len: u32,
  k_len: u32,
  q_base: u32,
  k_base: u32,
  v_base: u32,
  out_base: u32,
  lse_base: u32,
  table_base: u32,        // first entry of its row of block_table
}

@group(0) @binding(0) var<uniform> params: Params;
@if(Q_WIDE)  @group(0) @binding(1) var<storage, read> q: array<vec4u>;
@else        @group(0) @binding(1) var<storage, read> q: array<u32>;
@if(KV_WIDE) @group(0) @binding(2) var<storage, read> k: array<vec4u>;
@else        @group(0) @binding(2) var<storage, read> k: array<u32>;
@if(KV_WIDE) @group(0) @binding(3) var<storage, read> v: array<vec4u>;
@else        @group(0) @binding(3) var<storage, read> v: array<u32>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read> items: array<vec2u>;
@group(0) @binding(6) var<storage, read> block_table: array<u32>;
@if(OUT_WIDE && !Q_HALVES)  @group(0) @binding(7) var<storage, read_write> out: array<vec4u>;
@if(OUT_WIDE && Q_HALVES)   @group(0) @binding(7) var<storage, read_write> out: array<vec2u>;
@if(!OUT_WIDE && !Q_HALVES) @group(0) @binding(7) var<storage, read_write> out: array<u32>;
@if(!OUT_WIDE && Q_HALVES)  @group(0) @binding(7) var<storage, read_write> out: array<atomic<u32>>;
@group(0) @binding(8) var<storage, read_write> lse: array<u32>;   // the bits of f32

@if(F16_TILES)  alias Quad = vec4h;
@if(!F16_TILES) alias Quad = vec4f;

var<workgroup> q_tile: array<Quad, Q_QUADS * Q_LINE>;                 // [quad][row]
var<workgroup> kv_tile: array<Quad, KV_SIZE>;                         // keys [quad][4 lane + x at x LANES + lane], values [key][quad]
@if(!BROADCAST) var<workgroup> p_tile: array<Quad, LANES * Q_LINE>;   // weights of four keys [lane][row]
@if(!SUBGROUPS) var<workgroup> lane_part: array<f32, LANES * Q_LINE>; // a lane's maximum or total of each row
@if(SUBGROUPS) var<workgroup> next_thread: atomic<u32>;
@if(PAGED) var<workgroup> k_rows: array<u32, 2 * TILE_KEYS>;          // first element of each key of this tile and the next
@if(PAGED) var<workgroup> v_rows: array<u32, 2 * TILE_KEYS>;

@compute @workgroup_size(WG_SIZE)
fn attn_prefill(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
  @if(SUBGROUPS) @builtin(subgroup_size) subgroup_size: u32,
  @if(SUBGROUPS) @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
  let job = workgroup_id.y * grid.x + workgroup_id.x;
  let item_index = params.first_item + job / params.n_kv_heads;
  if (item_index >= params.n_items) { return; }
  let kv_head = job % params.n_kv_heads;
  let item = items[item_index];
  let sequence = sequence_at(item.x);
  let n_rows = sequence.q_len * params.group;
  let first_row = item.y * TILE_ROWS;
  if (first_row >= n_rows) { return; }
  let n_chunks = (params.head_dim + CHUNK_QUADS * 4 - 1) / (CHUNK_QUADS * 4);

  @if(SUBGROUPS) {
    if (local == 0u) { atomicStore(&next_thread, 0u); }
    workgroupBarrier();
  }
  @if(SUBGROUPS)  let thread = thread_by_subgroup(subgroup_size, subgroup_lane);
  @if(SUBGROUPS)  let lane = thread % LANES;
  @if(SUBGROUPS)  let team = thread / LANES;
  @if(!SUBGROUPS) let thread = local;
  @if(!SUBGROUPS) let lane = thread / TEAMS;
  @if(!SUBGROUPS) let team = thread % TEAMS;

  // Bands only move forward with the token, so the tile's first and last token bound what any of its rows can see,
  // and what all of them see.
  let first_band = band_of(sequence, first_row / params.group);
  let last_band = band_of(sequence, (min(first_row + TILE_ROWS, n_rows) - 1u) / params.group);
  let seen = Band(first_band.first, last_band.last);
  let seen_by_all = Band(last_band.first, first_band.last);

  @registers var bands: array<Band, ROWS>;
  @registers var positions: array<i32, ROWS>;
  @if(ALIBI) @registers var slopes: array<f32, ROWS>;
  @registers var maximum: array<f32, ROWS>;
  @registers var total: array<f32, ROWS>;
  @registers var acc: array<array<vec4f, COLS>, ROWS>;
  @unroll for (var r = 0u; r < ROWS; r++) {
    let row = first_row + team + r * TEAMS;
    let token = row / params.group;
    positions[r] = i32(token) + i32(sequence.k_len) - i32(sequence.q_len);
    bands[r] = band_of(sequence, token);
    maximum[r] = NO_MAXIMUM;
    @if(ALIBI) slopes[r] = slope_of(item.x, kv_head * params.group + row % params.group);
  }

  @if(Q_RESIDENT) {
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      if (chunk >= n_chunks) { break; }
      stage_queries(sequence, kv_head, first_row, n_rows, chunk, chunk, thread);
    }
  }

  let tile_start = u32(seen.first) / TILE_KEYS;
  let tile_end = (u32(max(seen.last + 1, 0)) + TILE_KEYS - 1) / TILE_KEYS;
  @if(PAGED) {
    find_pages(sequence, tile_start, thread);
    workgroupBarrier();
  }
  for (var tile = tile_start; tile < MANY; tile++) {
    if (tile >= tile_end) { break; }
    let first_key = tile * TILE_KEYS;

    // 1 scores: s[r] holds the scores of this lane's four keys
    @registers var s: array<vec4f, ROWS>;
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      if (chunk >= n_chunks) { break; }
      @if(!Q_RESIDENT) stage_queries(sequence, kv_head, first_row, n_rows, chunk, 0u, thread);
      stage_keys(sequence, kv_head, tile, seen, chunk, thread);
      workgroupBarrier();
      for (var quad = 0u; quad < CHUNK_QUADS; quad++) {
        let k0 = vec4f(kv_tile[quad * K_LINE + lane]);
        let k1 = vec4f(kv_tile[quad * K_LINE + LANES + lane]);
        let k2 = vec4f(kv_tile[quad * K_LINE + 2 * LANES + lane]);
        let k3 = vec4f(kv_tile[quad * K_LINE + 3 * LANES + lane]);
        @if(Q_RESIDENT)  let line = (chunk * CHUNK_QUADS + quad) * Q_LINE + team;
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
      if (chunk + 1u < n_chunks) { workgroupBarrier(); }  // the next chunk takes the place of this one
    }

    // 2 mask, row maximum
    let key = vec4i(i32(first_key + lane * 4u)) + vec4i(0, 1, 2, 3);
    let masked = i32(first_key) < seen_by_all.first || i32(first_key + TILE_KEYS) - 1 > seen_by_all.last;
    @registers var previous: array<f32, ROWS>;
    @unroll for (var r = 0u; r < ROWS; r++) {
      s[r] *= params.score_scale;
      @if(SOFTCAP) s[r] = capped(s[r]) * params.softcap_log2;
      @if(ALIBI) s[r] -= slopes[r] * vec4f(abs(key - positions[r]));
      if (masked) { s[r] = select(vec4f(MASKED), s[r], (key >= vec4i(bands[r].first)) & (key <= vec4i(bands[r].last))); }
      previous[r] = maximum[r];
      maximum[r] = max(maximum[r], max(max(s[r].x, s[r].y), max(s[r].z, s[r].w)));
      @if(!SUBGROUPS) lane_part[lane * Q_LINE + team + r * TEAMS] = maximum[r];
    }
    workgroupBarrier();  // the lanes' maxima are there, and the keys have been read: values may take their place
    @if(PAGED) find_pages(sequence, tile + 1u, thread);

    // 3 weights, rescale
    @unroll for (var r = 0u; r < ROWS; r++) {
      @if(SUBGROUPS) {
        @unroll for (var bit = 0u; bit < LANE_BITS; bit++) { maximum[r] = max(maximum[r], subgroupShuffleXor(maximum[r], 1u << bit)); }
      }
      @if(!SUBGROUPS) {
        for (var other = 0u; other < LANES; other++) {
          maximum[r] = max(maximum[r], lane_part[other * Q_LINE + team + r * TEAMS]);
        }
      }
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
      stage_values(sequence, kv_head, tile, seen, step * VALUE_KEYS, thread);
      workgroupBarrier();
      for (var four = 0u; four < VALUE_KEYS / 4; four++) {
        let line = four * 4 * VALUE_QUADS + lane;
        @registers var p: array<vec4f, ROWS>;
        let owner = step * (VALUE_KEYS / 4) + four;  // the lane whose keys these are
        @unroll for (var r = 0u; r < ROWS; r++) {
          @if(BROADCAST)  p[r] = subgroupShuffle(s[r], owner);
          @if(!BROADCAST) p[r] = vec4f(p_tile[owner * Q_LINE + team + r * TEAMS]);
        }
        @unroll for (var c = 0u; c < COLS; c++) {
          let v0 = vec4f(kv_tile[line + c * LANES]);
          let v1 = vec4f(kv_tile[line + c * LANES + VALUE_QUADS]);
          let v2 = vec4f(kv_tile[line + c * LANES + 2 * VALUE_QUADS]);
          let v3 = vec4f(kv_tile[line + c * LANES + 3 * VALUE_QUADS]);
          // Turned: each dim's values of the four keys.
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
    @unroll for (var r = 0u; r < ROWS; r++) { lane_part[lane * Q_LINE + team + r * TEAMS] = total[r]; }
    workgroupBarrier();
  }
  @unroll for (var r = 0u; r < ROWS; r++) {
    @if(SUBGROUPS) {
      @unroll for (var bit = 0u; bit < LANE_BITS; bit++) { total[r] += subgroupShuffleXor(total[r], 1u << bit); }
    }
    @if(!SUBGROUPS) {
      total[r] = 0.0;
      for (var other = 0u; other < LANES; other++) {
        total[r] += lane_part[other * Q_LINE + team + r * TEAMS];
      }
    }
    let row = first_row + team + r * TEAMS;
    if (row < n_rows) {
      let token = row / params.group;
      let head = kv_head * params.group + row % params.group;
      var share = 1.0;
      if (params.has_sinks != 0u) {
        let sink = bitcast<f32>(tables[params.sinks_at + head]) * LOG2_E;
        let raised = max(maximum[r], sink);
        share = exp2(maximum[r] - raised);
        total[r] = total[r] * share + exp2(sink - raised);
        maximum[r] = raised;
      }
      if (total[r] > 0.0) { share /= total[r]; }
      let out_row = sequence.out_base + token * params.out_token + head * params.out_head;
      @unroll for (var c = 0u; c < COLS; c++) { write_quad(out_row, (lane + c * LANES) * 4u, acc[r][c] * share); }
      if (lane == 0u && params.has_lse != 0u) {
        lse[sequence.lse_base + token * params.lse_token + head * params.lse_head] = lse_bits(maximum[r], total[r]);
      }
    }
  }
}

fn sequence_at(index: u32) -> Sequence {
  let at = index * 8u;
  return Sequence(
    tables[at], tables[at + 1u], tables[at + 2u], tables[at + 3u],
    tables[at + 4u], tables[at + 5u], tables[at + 6u], tables[at + 7u],
  );
}

// Which invocations form a subgroup is the driver's choice, so threads are numbered by subgroup: then the lanes of a
// team are neighbours in one of them, whatever the choice.
@if(SUBGROUPS) fn thread_by_subgroup(size: u32, subgroup_lane: u32) -> u32 {
  var first = 0u;
  if (subgroup_lane == 0u) { first = atomicAdd(&next_thread, size); }
  return subgroupBroadcastFirst(first) + subgroup_lane;
}

fn band_of(sequence: Sequence, token: u32) -> Band {
  let position = i32(token) + i32(sequence.k_len) - i32(sequence.q_len);
  return visible_band(position, i32(sequence.k_len), params.window_left, params.window_right, params.attention_chunk);
}

@if(ALIBI) fn slope_of(sequence_index: u32, head: u32) -> f32 {
  return bitcast<f32>(tables[params.slopes_at + sequence_index * params.slopes_sequence + head]) * LOG2_E;
}

// The natural log of the summed weights. WGSL has no infinity to write, but its bits can be.
fn lse_bits(maximum: f32, total: f32) -> u32 {
  return select(0xff800000u, bitcast<u32>((maximum + log2(total)) * LN_2), total > 0.0);
}

// Eight neighbouring elements.
struct Unit {
  low: vec4f,
  high: vec4f,
}

fn stage_queries(sequence: Sequence, kv_head: u32, first_row: u32, n_rows: u32, chunk: u32, place: u32, thread: u32) {
  for (var step = 0u; step < max((TILE_ROWS * CHUNK_UNITS + WG_SIZE - 1) / WG_SIZE, ROLLED_LOOP); step++) {
    let index = step * WG_SIZE + thread;
    if (index >= TILE_ROWS * CHUNK_UNITS) { break; }
    let tile_row = index / CHUNK_UNITS;
    let unit = index % CHUNK_UNITS;
    let dim = (chunk * CHUNK_UNITS + unit) * 8u;
    let row = first_row + tile_row;
    var eight = Unit(vec4f(), vec4f());
    if (row < n_rows && dim < params.head_dim) {
      let head = kv_head * params.group + row % params.group;
      eight = q_unit(sequence.q_base + row / params.group * params.q_token + head * params.q_head + dim, params.head_dim - dim);
    }
    let at = (place * CHUNK_QUADS + unit * 2u) * Q_LINE + tile_row;
    q_tile[at] = Quad(eight.low);
    q_tile[at + Q_LINE] = Quad(eight.high);
  }
}

// Keys and values that no row of the tile may see are staged as zeros: their slots may hold anything, and 0 · NaN is NaN.
fn stage_keys(sequence: Sequence, kv_head: u32, tile: u32, seen: Band, chunk: u32, thread: u32) {
  for (var step = 0u; step < max((TILE_KEYS * CHUNK_UNITS + WG_SIZE - 1) / WG_SIZE, ROLLED_LOOP); step++) {
    let index = step * WG_SIZE + thread;
    if (index >= TILE_KEYS * CHUNK_UNITS) { break; }
    let tile_key = index / CHUNK_UNITS;
    let unit = index % CHUNK_UNITS;
    let dim = (chunk * CHUNK_UNITS + unit) * 8u;
    let key = i32(tile * TILE_KEYS + tile_key);
    var eight = Unit(vec4f(), vec4f());
    if (key >= seen.first && key <= seen.last && dim < params.head_dim) {
      @if(PAGED)  let row = k_rows[tile % 2u * TILE_KEYS + tile_key];
      @if(!PAGED) let row = sequence.k_base + u32(key) * params.k_token;
      eight = k_unit(row + kv_head * params.k_head + dim, params.head_dim - dim);
    }
    let at = unit * 2u * K_LINE + tile_key % 4u * LANES + tile_key / 4u;
    kv_tile[at] = Quad(eight.low);
    kv_tile[at + K_LINE] = Quad(eight.high);
  }
}

fn stage_values(sequence: Sequence, kv_head: u32, tile: u32, seen: Band, first_key: u32, thread: u32) {
  for (var step = 0u; step < max((VALUE_KEYS * VALUE_UNITS + WG_SIZE - 1) / WG_SIZE, ROLLED_LOOP); step++) {
    let index = step * WG_SIZE + thread;
    if (index >= VALUE_KEYS * VALUE_UNITS) { break; }
    let tile_key = first_key + index / VALUE_UNITS;
    let unit = index % VALUE_UNITS;
    let dim = unit * 8u;
    let key = i32(tile * TILE_KEYS + tile_key);
    var eight = Unit(vec4f(), vec4f());
    if (key >= seen.first && key <= seen.last && dim < params.head_dim_v) {
      @if(PAGED)  let row = v_rows[tile % 2u * TILE_KEYS + tile_key];
      @if(!PAGED) let row = sequence.v_base + u32(key) * params.v_token;
      eight = v_unit(row + kv_head * params.v_head + dim, params.head_dim_v - dim);
    }
    let at = index / VALUE_UNITS * VALUE_QUADS + unit * 2u;
    kv_tile[at] = Quad(eight.low);
    if (unit * 2u + 1u < VALUE_QUADS) { kv_tile[at + 1u] = Quad(eight.high); }
  }
}

// Looks up the pages of a tile once for all its dims. Page numbers that came over the GPU are clamped to the pool.
@if(PAGED) fn find_pages(sequence: Sequence, tile: u32, thread: u32) {
  for (var step = 0u; step < (TILE_KEYS + WG_SIZE - 1) / WG_SIZE; step++) {
    let tile_key = step * WG_SIZE + thread;
    if (tile_key < TILE_KEYS) {
      let key = min(tile * TILE_KEYS + tile_key, sequence.k_len - 1u);
      let page = min(block_table[sequence.table_base + key / params.page_size], params.n_pages - 1u);
      let slot = key % params.page_size;
      k_rows[tile % 2u * TILE_KEYS + tile_key] = sequence.k_base + page * params.k_page + slot * params.k_token;
      v_rows[tile % 2u * TILE_KEYS + tile_key] = sequence.v_base + page * params.v_page + slot * params.v_token;
    }
  }
}

// The eight elements from `at`; the row has `left` more, and beyond them come zeros.
fn q_unit(at: u32, left: u32) -> Unit {
  @if(Q_WIDE && !Q_HALVES) return Unit(bitcast<vec4f>(q[at / 4u]), bitcast<vec4f>(select(vec4u(), q[at / 4u + 1u], left > 4u)));
  @if(Q_WIDE && Q_HALVES)  { let words = q[at / 8u]; return Unit(quad_from_q(words.xy), quad_from_q(words.zw)); }
  @if(!Q_WIDE) return Unit(
    vec4f(q_element(at, left, 0u), q_element(at, left, 1u), q_element(at, left, 2u), q_element(at, left, 3u)),
    vec4f(q_element(at, left, 4u), q_element(at, left, 5u), q_element(at, left, 6u), q_element(at, left, 7u)),
  );
}

// Keys and values alike, written twice: not every WebGPU lets a function take a pointer to a storage buffer.
fn k_unit(at: u32, left: u32) -> Unit {
  @if(KV_WIDE && !KV_HALVES) return Unit(bitcast<vec4f>(k[at / 4u]), bitcast<vec4f>(select(vec4u(), k[at / 4u + 1u], left > 4u)));
  @if(KV_WIDE && KV_HALVES)  { let words = k[at / 8u]; return Unit(quad_from_kv(words.xy), quad_from_kv(words.zw)); }
  @if(!KV_WIDE) return Unit(
    vec4f(k_element(at, left, 0u), k_element(at, left, 1u), k_element(at, left, 2u), k_element(at, left, 3u)),
    vec4f(k_element(at, left, 4u), k_element(at, left, 5u), k_element(at, left, 6u), k_element(at, left, 7u)),
  );
}

fn v_unit(at: u32, left: u32) -> Unit {
  @if(KV_WIDE && !KV_HALVES) return Unit(bitcast<vec4f>(v[at / 4u]), bitcast<vec4f>(select(vec4u(), v[at / 4u + 1u], left > 4u)));
  @if(KV_WIDE && KV_HALVES)  { let words = v[at / 8u]; return Unit(quad_from_kv(words.xy), quad_from_kv(words.zw)); }
  @if(!KV_WIDE) return Unit(
    vec4f(v_element(at, left, 0u), v_element(at, left, 1u), v_element(at, left, 2u), v_element(at, left, 3u)),
    vec4f(v_element(at, left, 4u), v_element(at, left, 5u), v_element(at, left, 6u), v_element(at, left, 7u)),
  );
}

@if(!Q_WIDE) fn q_element(at: u32, left: u32, index: u32) -> f32 {
  if (index >= left) { return 0.0; }
  @if(!Q_HALVES) return bitcast<f32>(q[at + index]);
  @if(Q_HALVES)  return half_from_q(q[(at + index) / 2u], (at + index) % 2u == 1u);
}

@if(!KV_WIDE) fn k_element(at: u32, left: u32, index: u32) -> f32 {
  if (index >= left) { return 0.0; }
  @if(!KV_HALVES) return bitcast<f32>(k[at + index]);
  @if(KV_HALVES)  return half_from_kv(k[(at + index) / 2u], (at + index) % 2u == 1u);
}

@if(!KV_WIDE) fn v_element(at: u32, left: u32, index: u32) -> f32 {
  if (index >= left) { return 0.0; }
  @if(!KV_HALVES) return bitcast<f32>(v[at + index]);
  @if(KV_HALVES)  return half_from_kv(v[(at + index) / 2u], (at + index) % 2u == 1u);
}

// Writes the output's dims dim .. dim + 3 of a row, or those of them that the row has.
fn write_quad(out_row: u32, dim: u32, value: vec4f) {
  if (dim >= params.head_dim_v) { return; }
  @if(OUT_WIDE && !Q_HALVES) out[(out_row + dim) / 4u] = bitcast<vec4u>(value);
  @if(OUT_WIDE && Q_HALVES)  out[(out_row + dim) / 4u] = vec2u(
    out_bits(value.x) | (out_bits(value.y) << 16u),
    out_bits(value.z) | (out_bits(value.w) << 16u),
  );
  @if(!OUT_WIDE) {
    for (var i = 0u; i < 4u; i++) {
      if (dim + i < params.head_dim_v) { write_element(out_row + dim + i, value[i]); }
    }
  }
}

@if(!OUT_WIDE && !Q_HALVES) fn write_element(at: u32, value: f32) {
  out[at] = bitcast<u32>(value);
}

// The other half of the word may be another row's, or not ours at all: each half is set without touching its neighbour.
@if(!OUT_WIDE && Q_HALVES) fn write_element(at: u32, value: f32) {
  let shift = at % 2u * 16u;
  atomicAnd(&out[at / 2u], 0xffff0000u >> shift);
  atomicOr(&out[at / 2u], out_bits(value) << shift);
}
