// attn_decode: attention of few query rows over contiguous or paged keys and values, by chunks of keys (Flash-Decoding).
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
// A row is one query token of one query head. One workgroup takes one item of one kv head: up to ROWS rows, those of all
// heads that share the kv head, against a chunk of the keys (see attention), so each key is read once for all of them.
//
// Invocations are arranged twice. For scores, KEY_LANES neighbours share four keys (a quad), and each takes every
// KEY_LANES-th octet (eight dims) of them, for all rows. As they add up their parts, each gets the four scores of a row of
// its own, of which it makes weights; with more lanes than rows, some repeat what another does. For values, VALUE_LANES
// neighbours share a key, and each takes every VALUE_LANES-th octet, for all rows; VALUE_GROUPS such groups take quads in
// turn, and their sums are added at the end.
//   m' = max(m, max s)   p = 2^(s - m')   l' = l 2^(m - m') + sum p   o' = o 2^(m - m') + p v      out = o / l
//
// Stages for each tile of keys, with a barrier after 2 and after 3:
//   1 scores   2 mask, row maximum   3 weights p   4 values
// and at the end
//   5 sum over groups, write
//
// With PREFETCH memory is asked long before its answer is used: for the values of a tile before its scores are computed,
// for the keys of the next tile before the first barrier, for the pages of the tile after that at the start. From these
// loads to their use there is no branch but that around the scores, since compilers move loads into the block of their
// use. Hence every invocation has a place of its own for all that it writes, and what lies beyond the last tile is not
// left out, but replaced by the last key.
//
// Variants:
//   those of octets, kv_words, key_offsets, dense_masks, out_rows, attention and lanes
//   PREFETCH      keys and values wait in registers: all that an invocation takes of a tile
//   KEY_SHARED    KEY_LANES is at least ROWS, and not 1; else an invocation has all rows of its quad (LANE_ROWS)
//   SHORT_CHAINS  sums grow by four or eight products at once, since too few of them are in the making at a time to hide
//                 how long each multiply-add takes
//   BROADCAST     subgroups have LANES invocations, which share queries and weights; not with KEY_SHARED
//
// Of a quantised cache (see octets, kv_scales) products and sums are those of codes. What depends on no element is multiplied
// once: scores by the scale of a key, weights by that of a value (KV_I8), or scores and outputs by those of a kv head
// (KV_E4M3). With KV_I4 an octet's products are multiplied by the scale of their group, and weights for each group of a
// value. Scales of a tile are in workgroup memory: those of keys from the second barrier before their tile on, those of values
// between the barriers of their own. With PREFETCH they are asked for as early as values, by an invocation for each key.
//
// With HIDES, values that have no weight in any row count as zeros: such a key may hold anything. Of i8 and i4 that goes for
// their scales, since codes are finite whatever they are.

import package::shared::attention::{
  params, Job, RowMask, item_index, job_of, token_of, head_of, rows_seen, mask_of, scores_of, sees, largest_of, tiles_of,
  Sums, with_sink, out_scale_of, out_row, write_lse_of,
};
@if(SCORE_MOD) import package::shared::attention::modified;
@if(MASK_MOD) import package::shared::attention::lets_see_by_mod;
import package::shared::band::{Band, band_between, last_of};
@if(MASK) import package::shared::dense_masks::{mask_bits, are_set};
@if(BIAS) import package::shared::dense_masks::{bias_of, biased};
import package::shared::key_offsets::{
  find_offsets, first_key_of, slot_of, keep_offsets, k_offsets_of, v_offsets_of, has_page, offset_or, have_pages,
};
@if(KV_E4M3) import package::shared::elements::E4M3_UNIT;
import package::shared::kv_words::{QuadWords, QuadRuns, k_quad, k_runs, v_quad, octet_of, octet_of_run};
@if(HIDES) import package::shared::kv_words::kept_words;
@if(KV_SCALES) import package::shared::kv_scales::{StoredScale, k_scale_of, v_scale_of, scale_from};
@if(KV_E4M3) import package::shared::kv_scales::{k_head_scale, v_head_scale};
import package::shared::lanes::{MANY, ROLLED_LOOP, invocation_by_subgroup, start_numbering};
import package::shared::octets::{Octet, q_octet, k_octet, v_octet};
@if(HIDES) import package::shared::octets::kept_octet;
import package::shared::out_rows::write_quad;
@if(LINKED) import package::shared::tile_links::{first_visited, links_at, visited_after};
import package::shared::scores::{MASKED, NO_MAXIMUM};
import constants::{
  WG_SIZE, TILE_KEYS, ROWS, ROW_PAIRS, ROW_QUADS, LANE_ROWS, LINE_ROWS, KEY_LANES, KEY_LANE_BITS, LANE_PARTS, QUAD_LANES,
  ROW_LANE_BITS, HEAD_OCTETS, OCTETS, VALUE_LANES, VALUE_STEPS, COLS, TURN_ROWS, LANES, OWN_ROWS, K_RUN, RUNS, K_GROUPS,
  V_GROUPS,
};

@if(SUBGROUPS) enable subgroups;

const TILE_QUADS = TILE_KEYS / 4;
const VALUE_GROUPS = WG_SIZE / VALUE_LANES;
const TURNS = ROWS / TURN_ROWS;
const TURN_OCTETS = TURN_ROWS * COLS * VALUE_LANES;
const Q_SIZE = HEAD_OCTETS * ROWS * 2;
const SUM_SIZE = TURN_ROWS * COLS * WG_SIZE * 2;
@if(PREFETCH)  const SCALE_LINE = max(TILE_KEYS, WG_SIZE);
@if(!PREFETCH) const SCALE_LINE = TILE_KEYS;

// By quad, then by row, of which KEY_SHARED has LINE_ROWS = KEY_LANES: one for each invocation.
var<workgroup> weights: array<vec4f, LINE_ROWS * TILE_QUADS>;      // p
var<workgroup> lane_value: array<f32, LINE_ROWS * TILE_QUADS>;     // maximum of a quad and its neighbours; at the end total
@if(KEY_SHARED) var<workgroup> lane_rescale: array<f32, WG_SIZE>;  // 2^(m - m')
var<workgroup> row_maximum: array<f32, LINE_ROWS>;
// Parts of s: by row, then by quad, then by lane.
@if(KEY_SHARED && !SUBGROUPS) var<workgroup> lane_scores: array<vec4f, ROWS * WG_SIZE>;
@if(KV_SCALES) var<workgroup> k_scales: array<f32, K_GROUPS * SCALE_LINE>;   // [group][key]
@if(KV_SCALES) var<workgroup> v_scales: array<f32, V_GROUPS * SCALE_LINE>;
var<workgroup> tile: array<vec4f, max(Q_SIZE, SUM_SIZE)>;  // queries [row][low, high][octet]; at the end sums of values

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

  let seen = rows_seen(job, ROWS).by_any;
  let tiles = tiles_of(job.item, seen, TILE_KEYS);
  // What is loaded beyond the last tile is its last key once more.
  @if(!FIRST_KEYS) let walked = band_between(seen.first, min(seen.last, i32(tiles.end * TILE_KEYS) - 1));
  @if(FIRST_KEYS)  let walked = up_to(seen, i32(first_key_of(seen, max(tiles.end, 1u) - 1u) + TILE_KEYS));

  @if(LINKED)  let links = links_at(item_index(workgroup_index), job.kv_head);
  @if(LINKED)  let first_tile = first_visited(links, tiles);
  @if(LINKED)  let second_tile = visited_after(links, tiles, first_tile);
  @if(!LINKED) let first_tile = tiles.first;
  @if(!LINKED) let second_tile = tiles.first + 1u;
  @if(PAGED) find_offsets(sequence, walked, first_tile, local);
  @if(PAGED && PREFETCH) find_offsets(sequence, walked, second_tile, local);
  @if(KV_SCALES) find_key_scales(job, walked, first_tile, local);
  stage_queries(job, local);
  @if(SUBGROUPS) start_numbering(local);
  workgroupBarrier();
  // Minima show compilers that indices are within bounds, see attn_matrix.
  @if(SUBGROUPS)  let invocation = min(invocation_by_subgroup(subgroup_size, subgroup_lane), WG_SIZE - 1u);
  @if(!SUBGROUPS) let invocation = local;

  // For scores and weights
  let key_lane = min(invocation % KEY_LANES, KEY_LANES - 1u);
  let key_quad = invocation / KEY_LANES;
  let last_octet = (params.head_dim - 1u) / 8u;
  let own_row = min(key_lane % ROWS, ROWS - 1u);   // with LANE_ROWS the first of several
  @registers var mask: array<RowMask, LANE_ROWS>;
  @registers var maximum: array<f32, LANE_ROWS>;
  @registers var total: array<f32, LANE_ROWS>;
  @unroll for (var i = 0u; i < LANE_ROWS; i++) {
    mask[i] = mask_of(job, job.first_row + own_row + i);
    maximum[i] = NO_MAXIMUM;
  }

  // For values
  let value_lane = min(invocation % VALUE_LANES, VALUE_LANES - 1u);
  let value_group = invocation / VALUE_LANES;
  let last_value_octet = (params.head_dim_v - 1u) / 8u;
  @registers var low: array<array<vec4f, COLS>, ROWS>;
  @registers var high: array<array<vec4f, COLS>, ROWS>;

  // Where the keys lie whose scales this invocation asks for.
  @if(PREFETCH && KV_SCALES) var slot_of_value = slot_of(sequence, walked, first_tile, invocation);
  @if(PREFETCH && KV_SCALES) var slot_of_key = slot_of(sequence, walked, second_tile, invocation);
  @if(KV_E4M3) let head_scale = k_head_scale(job.kv_head) * E4M3_UNIT;

  @if(PREFETCH && !KV_QUANTISED) @registers var keys: array<QuadWords, OCTETS>;  // of the tile to be scored next
  @if(PREFETCH && KV_QUANTISED) @registers var keys: array<QuadRuns, RUNS>;
  @if(PREFETCH && KV_QUANTISED) let last_run = last_octet / K_RUN;
  @if(PREFETCH && KV_QUANTISED) {
    if (first_tile < tiles.end) {
      let k_at = k_offsets_of(sequence, walked, first_tile, key_quad) + job.kv_head * params.k_head;
      @unroll for (var step = 0u; step < RUNS; step++) {
        keys[step] = k_runs(k_at + min(step * KEY_LANES + key_lane, last_run) * K_RUN * 8u);
      }
    }
  }
  @if(PREFETCH && !KV_QUANTISED) {
    if (first_tile < tiles.end) {
      let k_at = k_offsets_of(sequence, walked, first_tile, key_quad) + job.kv_head * params.k_head;
      @unroll for (var step = 0u; step < OCTETS; step++) {
        let dim = min(step * KEY_LANES + key_lane, last_octet) * 8u;
        keys[step] = k_quad(k_at + dim, params.head_dim - dim);
      }
    }
  }

  for (var tile_index = first_tile; tile_index < MANY; tile_index++) {
    if (tile_index >= tiles.end) { break; }
    @if(LINKED)  let next_index = visited_after(links, tiles, tile_index);
    @if(!LINKED) let next_index = tile_index + 1u;
    @if(PREFETCH && LINKED)  let index_after = visited_after(links, tiles, next_index);
    @if(PREFETCH && !LINKED) let index_after = tile_index + 2u;
    let tile_start = first_key_of(seen, tile_index);
    let first_key = tile_start + key_quad * 4u;
    @if(MASK) @registers var row_bits: array<u32, LANE_ROWS>;
    @if(MASK) {
      @unroll for (var i = 0u; i < LANE_ROWS; i++) { row_bits[i] = mask_bits(mask[i].mask_row, first_key, sequence.k_len); }
    }
    @if(BIAS) @registers var added: array<vec4f, LANE_ROWS>;
    @if(BIAS) {
      @unroll for (var i = 0u; i < LANE_ROWS; i++) { added[i] = bias_of(mask[i].bias_row, first_key, sequence.k_len); }
    }
    @if(PREFETCH && (PAGED || KV_SCALES)) let slot = slot_of(sequence, walked, index_after, invocation);
    @if(PREFETCH && KV_SCALES) @registers var own_k_scales: array<StoredScale, K_GROUPS>;
    @if(PREFETCH && KV_SCALES) @registers var own_v_scales: array<StoredScale, V_GROUPS>;
    @if(PREFETCH && KV_SCALES) {
      @unroll for (var group = 0u; group < K_GROUPS; group++) {
        own_k_scales[group] = k_scale_of(slot_of_key, job.kv_head, min(group, last_octet / 4u));
      }
      @unroll for (var group = 0u; group < V_GROUPS; group++) {
        own_v_scales[group] = v_scale_of(slot_of_value, job.kv_head, min(group, last_value_octet / 4u));
      }
    }
    @if(PREFETCH) @registers var values: array<array<QuadWords, COLS>, VALUE_STEPS>;
    @if(PREFETCH && PAGED && !HIDES && !KV_SCALES) @registers var values_at: array<u32, VALUE_STEPS>;
    @if(PREFETCH) {
      @unroll for (var step = 0u; step < VALUE_STEPS; step++) {
        let places = value_places(job, walked, tile_index, step * VALUE_GROUPS + value_group);
        @if(PAGED && !HIDES && !KV_SCALES) values_at[step] = places.any_at;
        @unroll for (var c = 0u; c < COLS; c++) {
          let dim = min(value_lane + c * VALUE_LANES, last_value_octet) * 8u;
          values[step][c] = v_quad(places.at + dim, params.head_dim_v - dim);
        }
      }
    }

    // 1 scores: s of this invocation's four keys, for each row. Octets beyond the head have queries of zero, and read an
    // octet that is there. Of max(N, ROLLED_LOOP) and MANY see lanes.
    @registers var s: array<array<vec4f, 2>, ROW_PAIRS>;
    @if(PREFETCH && KV_QUANTISED) {
      if (i32(first_key) <= last_of(seen)) {
        @unroll for (var step = 0u; step < RUNS; step++) {
          let first_octet = (step * KEY_LANES + key_lane) * K_RUN;
          @if(KV_I4) let group_scales = scales_of_keys(min(first_octet, last_octet) / 4u, key_quad);
          @unroll for (var i = 0u; i < K_RUN; i++) {
            let k0 = octet_of_run(keys[step].x, i);
            let k1 = octet_of_run(keys[step].y, i);
            let k2 = octet_of_run(keys[step].z, i);
            let k3 = octet_of_run(keys[step].w, i);
            @unroll for (var r = 0u; r < ROWS; r++) {
              let q_low = tile[r * 2u * HEAD_OCTETS + first_octet + i];
              let q_high = tile[(r * 2u + 1u) * HEAD_OCTETS + first_octet + i];
              @if(KV_I4)  s[r / 2][r % 2] += with_products(vec4f(), Octet(q_low, q_high), k0, k1, k2, k3) * group_scales;
              @if(!KV_I4) s[r / 2][r % 2] = with_products(s[r / 2][r % 2], Octet(q_low, q_high), k0, k1, k2, k3);
            }
          }
        }
      }
      let next_at = k_offsets_of(sequence, walked, next_index, key_quad) + job.kv_head * params.k_head;
      @unroll for (var step = 0u; step < RUNS; step++) {
        keys[step] = k_runs(next_at + min(step * KEY_LANES + key_lane, last_run) * K_RUN * 8u);
      }
    }
    @if(PREFETCH && !KV_QUANTISED) {
      if (i32(first_key) <= last_of(seen)) {
        @unroll for (var step = 0u; step < OCTETS; step++) {
          let octet = step * KEY_LANES + key_lane;
          let left = params.head_dim - min(octet, last_octet) * 8u;
          let k0 = octet_of(keys[step].x, left);
          let k1 = octet_of(keys[step].y, left);
          let k2 = octet_of(keys[step].z, left);
          let k3 = octet_of(keys[step].w, left);
          @unroll for (var r = 0u; r < ROWS; r++) {
            let q_low = tile[r * 2u * HEAD_OCTETS + octet];
            let q_high = tile[(r * 2u + 1u) * HEAD_OCTETS + octet];
            s[r / 2][r % 2] = with_products(s[r / 2][r % 2], Octet(q_low, q_high), k0, k1, k2, k3);
          }
        }
      }
      let next_at = k_offsets_of(sequence, walked, next_index, key_quad) + job.kv_head * params.k_head;
      @unroll for (var step = 0u; step < OCTETS; step++) {
        let dim = min(step * KEY_LANES + key_lane, last_octet) * 8u;
        keys[step] = k_quad(next_at + dim, params.head_dim - dim);
      }
    }
    @if(!PREFETCH) {
      let k_at = k_offsets_of(sequence, walked, tile_index, key_quad) + job.kv_head * params.k_head;
      for (var step = 0u; step < max(OCTETS, ROLLED_LOOP); step++) {
        if (step * KEY_LANES * 8u >= params.head_dim) { break; }
        let octet = step * KEY_LANES + key_lane;
        let dim = min(octet, last_octet) * 8u;
        let left = params.head_dim - dim;
        let k0 = k_octet(k_at.x + dim, left);
        let k1 = k_octet(k_at.y + dim, left);
        let k2 = k_octet(k_at.z + dim, left);
        let k3 = k_octet(k_at.w + dim, left);
        @if(KV_I4) let group_scales = scales_of_keys(min(octet, last_octet) / 4u, key_quad);
        @if(BROADCAST) @registers var own_low: array<vec4f, OWN_ROWS>;
        @if(BROADCAST) @registers var own_high: array<vec4f, OWN_ROWS>;
        @if(BROADCAST) {
          @unroll for (var i = 0u; i < OWN_ROWS; i++) {
            let own = min(i * LANES + invocation % LANES, ROWS - 1u);
            own_low[i] = tile[own * 2u * HEAD_OCTETS + octet];
            own_high[i] = tile[(own * 2u + 1u) * HEAD_OCTETS + octet];
          }
        }
        @unroll for (var r = 0u; r < ROWS; r++) {
          @if(BROADCAST)  let q_low = subgroupBroadcast(own_low[r / LANES], r % LANES);
          @if(BROADCAST)  let q_high = subgroupBroadcast(own_high[r / LANES], r % LANES);
          @if(!BROADCAST) let q_low = tile[r * 2u * HEAD_OCTETS + octet];
          @if(!BROADCAST) let q_high = tile[(r * 2u + 1u) * HEAD_OCTETS + octet];
          @if(KV_I4)  s[r / 2][r % 2] += with_products(vec4f(), Octet(q_low, q_high), k0, k1, k2, k3) * group_scales;
          @if(!KV_I4) s[r / 2][r % 2] = with_products(s[r / 2][r % 2], Octet(q_low, q_high), k0, k1, k2, k3);
        }
      }
    }
    // Of the sums over the lanes that share the keys, each lane takes that of its own row.
    @registers var own: array<vec4f, LANE_ROWS>;
    @if(!KEY_SHARED) {
      @unroll for (var i = 0u; i < LANE_ROWS; i++) { own[i] = s[i / 2][i % 2]; }
    }
    @if(KEY_SHARED && SUBGROUPS) {
      @registers var of_two: array<array<vec4f, 2>, ROW_QUADS>;
      @unroll for (var i = 0u; i < ROW_PAIRS; i++) { of_two[i / 2][i % 2] = fold(s[i][0u], s[i][1u], 0u, key_lane); }
      @registers var of_four: array<vec4f, 2>;
      @unroll for (var i = 0u; i < ROW_QUADS; i++) { of_four[i] = fold(of_two[i][0u], of_two[i][1u], 1u, key_lane); }
      own[0u] = sum_of_more_lanes(fold(of_four[0u], of_four[1u], 2u, key_lane));
    }
    @if(KEY_SHARED && !SUBGROUPS) {
      @unroll for (var r = 0u; r < ROWS; r++) { lane_scores[r * WG_SIZE + invocation] = s[r / 2][r % 2]; }
      workgroupBarrier();
      let first = own_row * WG_SIZE + invocation - key_lane;
      // Each lane begins with another one, so that together they read neighbours.
      for (var i = 0u; i < KEY_LANES; i++) { own[0u] += lane_scores[first + (key_lane + i) % KEY_LANES]; }
    }

    // 2 mask, row maximum
    let key = vec4i(i32(first_key)) + vec4i(0, 1, 2, 3);
    @if(PAGED) let are_there = have_pages(tile_index, key_quad);
    @if(KV_I8) let key_scales = scales_of_keys(0u, key_quad);
    @unroll for (var i = 0u; i < LANE_ROWS; i++) {
      @if(KV_I8) own[i] *= key_scales;
      @if(KV_E4M3) own[i] *= head_scale;
      var is_seen = sees(mask[i], key);
      @if(PAGED) is_seen &= are_there;
      @if(MASK) is_seen &= are_set(row_bits[i]);
      @if(MASK_MOD) is_seen &= lets_see_by_mod(mask[i], key);
      own[i] = scores_of(own[i], key, mask[i]);
      @if(BIAS) own[i] = biased(own[i], added[i]);
      @if(SCORE_MOD) own[i] = modified(own[i], key, mask[i]);
      own[i] = select(vec4f(MASKED), own[i], is_seen);
      let largest = max_of_quads(largest_of(own[i]));
      lane_value[key_quad * LINE_ROWS + key_lane + i] = largest;
    }
    workgroupBarrier();
    @if(PAGED && PREFETCH) {
      // The offsets of this tile, which stood there, have been read.
      keep_offsets(sequence, index_after, invocation, slot);
    }
    @if(PAGED && !PREFETCH) find_offsets(sequence, walked, next_index, invocation);
    @if(KV_SCALES && PREFETCH) {
      @unroll for (var group = 0u; group < K_GROUPS; group++) { k_scales[group * SCALE_LINE + invocation] = scale_from(own_k_scales[group]); }
      @unroll for (var group = 0u; group < V_GROUPS; group++) { v_scales[group * SCALE_LINE + invocation] = scale_from(own_v_scales[group]); }
      slot_of_value = slot_of_key;
      slot_of_key = slot;
    }
    @if(KV_SCALES && !PREFETCH) {
      find_key_scales(job, walked, next_index, invocation);
      find_value_scales(job, walked, tile_index, invocation);
    }

    // 3 weights p
    @registers var rescale: array<f32, LANE_ROWS>;
    @unroll for (var i = 0u; i < LANE_ROWS; i++) {
      let largest = max(maximum[i], max_of_row(own_row + i));
      rescale[i] = exp2(maximum[i] - largest);
      maximum[i] = largest;
      let p = exp2(own[i] - largest);
      total[i] = total[i] * rescale[i] + dot(p, vec4f(1));
      weights[key_quad * LINE_ROWS + key_lane + i] = p;
    }
    @if(KEY_SHARED) lane_rescale[invocation] = rescale[0u];
    workgroupBarrier();

    // 4 values
    @unroll for (var r = 0u; r < ROWS; r++) {
      @if(KEY_SHARED)  let row_rescale = lane_rescale[r];
      @if(!KEY_SHARED) let row_rescale = rescale[r];
      @unroll for (var c = 0u; c < COLS; c++) {
        low[r][c] *= row_rescale;
        high[r][c] *= row_rescale;
      }
    }
    @if(PREFETCH) {
      @unroll for (var step = 0u; step < VALUE_STEPS; step++) {
        // Its weights are 0, but what was read for it may be NaN; codes of i8 and i4 may not.
        @if(PAGED && !HIDES && !KV_SCALES) {
          if (!has_page(values_at[step])) {
            @unroll for (var c = 0u; c < COLS; c++) { values[step][c] = QuadWords(); }
          }
        }
        @registers var p4: array<vec4f, ROWS>;
        @unroll for (var r = 0u; r < ROWS; r++) { p4[r] = weights[(step * VALUE_GROUPS + value_group) * LINE_ROWS + r]; }
        @if(HIDES) var weight_bits = vec4u();
        @if(HIDES) @unroll for (var r = 0u; r < ROWS; r++) { weight_bits |= bitcast<vec4u>(p4[r]); }
        @if(HIDES) let has_weight = weight_bits != vec4u();
        @if(KV_I8 && HIDES)  let value_scales = select(vec4f(), scales_of_values(0u, step * VALUE_GROUPS + value_group), has_weight);
        @if(KV_I8 && !HIDES) let value_scales = scales_of_values(0u, step * VALUE_GROUPS + value_group);
        @if(KV_I8) @unroll for (var r = 0u; r < ROWS; r++) { p4[r] *= value_scales; }
        @unroll for (var c = 0u; c < COLS; c++) {
          @if(KV_I4) let scales_of_group = scales_of_values(
            min(value_lane + c * VALUE_LANES, last_value_octet) / 4u, step * VALUE_GROUPS + value_group,
          );
          @if(KV_I4 && HIDES)  let group_scales = select(vec4f(), scales_of_group, has_weight);
          @if(KV_I4 && !HIDES) let group_scales = scales_of_group;
          @if(HIDES && !KV_I8 && !KV_I4) values[step][c] = kept_words(values[step][c], has_weight);
          let left = params.head_dim_v - min(value_lane + c * VALUE_LANES, last_value_octet) * 8u;
          let v0 = octet_of(values[step][c].x, left);
          let v1 = octet_of(values[step][c].y, left);
          let v2 = octet_of(values[step][c].z, left);
          let v3 = octet_of(values[step][c].w, left);
          @if(!KV_I4) @unroll for (var r = 0u; r < ROWS; r++) {
            low[r][c] = with_values(low[r][c], p4[r], v0.low, v1.low, v2.low, v3.low);
            high[r][c] = with_values(high[r][c], p4[r], v0.high, v1.high, v2.high, v3.high);
          }
          @if(KV_I4) @unroll for (var r = 0u; r < ROWS; r++) {
            let p = p4[r] * group_scales;
            low[r][c] = with_values(low[r][c], p, v0.low, v1.low, v2.low, v3.low);
            high[r][c] = with_values(high[r][c], p, v0.high, v1.high, v2.high, v3.high);
          }
        }
      }
    }
    @if(!PREFETCH) {
      for (var step = 0u; step < max(VALUE_STEPS, ROLLED_LOOP); step++) {
        if (step >= VALUE_STEPS || i32(tile_start + step * VALUE_GROUPS * 4u) > last_of(seen)) { break; }
        let quad = step * VALUE_GROUPS + value_group;
        let places = value_places(job, walked, tile_index, quad);
        @registers var p4: array<vec4f, ROWS>;
        @if(BROADCAST) {
          @registers var own_p: array<vec4f, OWN_ROWS>;
          @unroll for (var i = 0u; i < OWN_ROWS; i++) {
            own_p[i] = weights[quad * LINE_ROWS + min(i * LANES + invocation % LANES, ROWS - 1u)];
          }
          @unroll for (var r = 0u; r < ROWS; r++) { p4[r] = subgroupBroadcast(own_p[r / LANES], r % LANES); }
        }
        @if(!BROADCAST) {
          @unroll for (var r = 0u; r < ROWS; r++) { p4[r] = weights[quad * LINE_ROWS + r]; }
        }
        @if(HIDES) var weight_bits = vec4u();
        @if(HIDES) @unroll for (var r = 0u; r < ROWS; r++) { weight_bits |= bitcast<vec4u>(p4[r]); }
        @if(HIDES) let has_weight = weight_bits != vec4u();
        @if(KV_I8 && HIDES)  let value_scales = select(vec4f(), scales_of_values(0u, quad), has_weight);
        @if(KV_I8 && !HIDES) let value_scales = scales_of_values(0u, quad);
        @if(KV_I8) @unroll for (var r = 0u; r < ROWS; r++) { p4[r] *= value_scales; }
        @unroll for (var c = 0u; c < COLS; c++) {
          let dim = (value_lane + c * VALUE_LANES) * 8u;
          if (dim < params.head_dim_v && has_page(places.any_at)) {
            let left = params.head_dim_v - dim;
            @if(HIDES && !KV_I8 && !KV_I4) let v0 = kept_octet(v_octet(places.at.x + dim, left), has_weight.x);
            @if(HIDES && !KV_I8 && !KV_I4) let v1 = kept_octet(v_octet(places.at.y + dim, left), has_weight.y);
            @if(HIDES && !KV_I8 && !KV_I4) let v2 = kept_octet(v_octet(places.at.z + dim, left), has_weight.z);
            @if(HIDES && !KV_I8 && !KV_I4) let v3 = kept_octet(v_octet(places.at.w + dim, left), has_weight.w);
            @if(!HIDES || KV_I8 || KV_I4) let v0 = v_octet(places.at.x + dim, left);
            @if(!HIDES || KV_I8 || KV_I4) let v1 = v_octet(places.at.y + dim, left);
            @if(!HIDES || KV_I8 || KV_I4) let v2 = v_octet(places.at.z + dim, left);
            @if(!HIDES || KV_I8 || KV_I4) let v3 = v_octet(places.at.w + dim, left);
            @if(KV_I4 && HIDES)  let group_scales = select(vec4f(), scales_of_values(dim / 32u, quad), has_weight);
            @if(KV_I4 && !HIDES) let group_scales = scales_of_values(dim / 32u, quad);
            @if(!KV_I4) @unroll for (var r = 0u; r < ROWS; r++) {
              low[r][c] = with_values(low[r][c], p4[r], v0.low, v1.low, v2.low, v3.low);
              high[r][c] = with_values(high[r][c], p4[r], v0.high, v1.high, v2.high, v3.high);
            }
            @if(KV_I4) @unroll for (var r = 0u; r < ROWS; r++) {
              let p = p4[r] * group_scales;
              low[r][c] = with_values(low[r][c], p, v0.low, v1.low, v2.low, v3.low);
              high[r][c] = with_values(high[r][c], p, v0.high, v1.high, v2.high, v3.high);
            }
          }
        }
      }
    }
    @if(LINKED) tile_index = next_index - 1u;
  }

  // 5 sum over groups, write: TURN_ROWS rows at a time. Each lane has summed the weights of its own keys.
  @unroll for (var i = 0u; i < LANE_ROWS; i++) {
    let sum = sum_of_quads(total[i]);
    lane_value[key_quad * LINE_ROWS + key_lane + i] = sum;
    if (key_quad == 0u) { row_maximum[key_lane + i] = maximum[i]; }
  }
  for (var turn = 0u; turn < max(TURNS, ROLLED_LOOP); turn++) {
    if (turn * TURN_ROWS >= min(ROWS, job.n_rows - job.first_row)) { break; }
    if (turn > 0u) { workgroupBarrier(); }
    @unroll for (var r = 0u; r < ROWS; r++) {
      if (r / TURN_ROWS == turn) {
        @unroll for (var c = 0u; c < COLS; c++) {
          let at = ((r % TURN_ROWS * COLS + c) * WG_SIZE + invocation) * 2u;
          tile[at] = low[r][c];
          tile[at + 1u] = high[r][c];
        }
      }
    }
    workgroupBarrier();
    for (var step = 0u; step < (TURN_OCTETS + WG_SIZE - 1) / WG_SIZE; step++) {
      let index = step * WG_SIZE + invocation;
      if (index >= TURN_OCTETS) { break; }
      write_octet(job, turn * TURN_ROWS, index);
    }
  }
}

// The keys of a band before `end`.
@if(FIRST_KEYS) fn up_to(band: Band, end: i32) -> Band {
  return Band(band.first, min(band.last, end - 1), band.head_first, min(band.head_end, end));
}

// Loads the queries of the rows into `tile`. Query rows past the end are staged as zeros; their results are never
// stored.
fn stage_queries(job: Job, invocation: u32) {
  for (var step = 0u; step < max((HEAD_OCTETS * ROWS + WG_SIZE - 1) / WG_SIZE, ROLLED_LOOP); step++) {
    let index = step * WG_SIZE + invocation;
    if (index >= HEAD_OCTETS * ROWS) { break; }
    let row = job.first_row + index / HEAD_OCTETS;
    let octet = index % HEAD_OCTETS;
    var elements = Octet(vec4f(), vec4f());
    if (row < job.n_rows && octet * 8u < params.head_dim) {
      let q_at = job.sequence.q_base + token_of(row) * params.q_token + head_of(job, row) * params.q_head;
      elements = q_octet(q_at + octet * 8u, params.head_dim - octet * 8u);
    }
    let at = index / HEAD_OCTETS * 2u * HEAD_OCTETS + octet;
    tile[at] = elements.low;
    tile[at + HEAD_OCTETS] = elements.high;
  }
}

// Puts the scales of the keys of a tile into workgroup memory.
@if(KV_SCALES) fn find_key_scales(job: Job, walked: Band, tile_index: u32, invocation: u32) {
  let last_group = (params.head_dim - 1u) / 32u;
  for (var step = 0u; step < (TILE_KEYS + WG_SIZE - 1) / WG_SIZE; step++) {
    let key = step * WG_SIZE + invocation;
    if (key >= TILE_KEYS) { break; }
    let slot = slot_of(job.sequence, walked, tile_index, key);
    @unroll for (var group = 0u; group < K_GROUPS; group++) {
      k_scales[group * SCALE_LINE + key] = scale_from(k_scale_of(slot, job.kv_head, min(group, last_group)));
    }
  }
}

@if(KV_SCALES) fn find_value_scales(job: Job, walked: Band, tile_index: u32, invocation: u32) {
  let last_group = (params.head_dim_v - 1u) / 32u;
  for (var step = 0u; step < (TILE_KEYS + WG_SIZE - 1) / WG_SIZE; step++) {
    let key = step * WG_SIZE + invocation;
    if (key >= TILE_KEYS) { break; }
    let slot = slot_of(job.sequence, walked, tile_index, key);
    @unroll for (var group = 0u; group < V_GROUPS; group++) {
      v_scales[group * SCALE_LINE + key] = scale_from(v_scale_of(slot, job.kv_head, min(group, last_group)));
    }
  }
}

// Those of the four keys of a quad, in a group of 32 dims or of a whole head.
@if(KV_SCALES) fn scales_of_keys(group: u32, quad: u32) -> vec4f {
  let at = min(group * SCALE_LINE + quad * 4u, K_GROUPS * SCALE_LINE - 4u);
  return vec4f(k_scales[at], k_scales[at + 1u], k_scales[at + 2u], k_scales[at + 3u]);
}

@if(KV_SCALES) fn scales_of_values(group: u32, quad: u32) -> vec4f {
  let at = min(group * SCALE_LINE + quad * 4u, V_GROUPS * SCALE_LINE - 4u);
  return vec4f(v_scales[at], v_scales[at + 1u], v_scales[at + 2u], v_scales[at + 3u]);
}

// Where the values of a quad of keys lie.
struct ValuePlaces {
  at: vec4u,
  any_at: u32,   // of one that has a page, if any has
}

// If a key has no page its weight is 0: the value of a neighbour is read instead, or if there is none the first one of the
// pool, which must not be used.
fn value_places(job: Job, walked: Band, tile_index: u32, quad: u32) -> ValuePlaces {
  let offsets = v_offsets_of(job.sequence, walked, tile_index, quad);
  let any_at = min(min(offsets.x, offsets.y), min(offsets.z, offsets.w));
  let other = offset_or(any_at, job.sequence.v_base);
  let at = vec4u(offset_or(offsets.x, other), offset_or(offsets.y, other), offset_or(offsets.z, other), offset_or(offsets.w, other));
  return ValuePlaces(at + job.kv_head * params.v_head, any_at);
}

// Adds the products of a row's octet with those of four keys.
fn with_products(sum: vec4f, q: Octet, k0: Octet, k1: Octet, k2: Octet, k3: Octet) -> vec4f {
  return vec4f(
    with_product(sum.x, q, k0), with_product(sum.y, q, k1), with_product(sum.z, q, k2), with_product(sum.w, q, k3),
  );
}

// As one chain, so that compilers make eight fused multiply-adds of it.
fn with_product(sum: f32, a: Octet, b: Octet) -> f32 {
  @if(SHORT_CHAINS) return sum + (dot(a.low, b.low) + dot(a.high, b.high));
  @if(!SHORT_CHAINS) {
    let of_low = sum + a.low.x * b.low.x + a.low.y * b.low.y + a.low.z * b.low.z + a.low.w * b.low.w;
    return of_low + a.high.x * b.high.x + a.high.y * b.high.y + a.high.z * b.high.z + a.high.w * b.high.w;
  }
}

fn with_values(sum: vec4f, p: vec4f, v0: vec4f, v1: vec4f, v2: vec4f, v3: vec4f) -> vec4f {
  @if(SHORT_CHAINS)  return sum + (p.x * v0 + p.y * v1 + p.z * v2 + p.w * v3);
  @if(!SHORT_CHAINS) return sum + p.x * v0 + p.y * v1 + p.z * v2 + p.w * v3;
}

// One step of summing over the lanes that share keys. Lanes that differ in one bit of their number exchange: the one
// without it gets the sum of the even row, the other that of the odd row. With fewer rows than lanes both get the sum.
@if(SUBGROUPS) fn fold(even: vec4f, odd: vec4f, bit: u32, key_lane: u32) -> vec4f {
  if (bit >= KEY_LANE_BITS) { return even; }
  if (ROWS <= 1u << bit) { return even + subgroupShuffleXor(even, 1u << bit); }
  let takes_odd = (key_lane >> bit) % 2u == 1u;
  return select(even, odd, takes_odd) + subgroupShuffleXor(select(odd, even, takes_odd), 1u << bit);
}

// The sum over what the lanes beyond the first eight have of the row.
@if(SUBGROUPS) fn sum_of_more_lanes(own: vec4f) -> vec4f {
  var sum = own;
  for (var bit = 3u; bit < KEY_LANE_BITS; bit++) { sum += subgroupShuffleXor(sum, 1u << bit); }
  return sum;
}

// The maximum, or the sum, over the QUAD_LANES neighbouring quads that exchange by subgroup operations.
fn max_of_quads(own: f32) -> f32 {
  var largest = own;
  @if(BROADCAST) largest = subgroupMax(own);
  @if(SUBGROUPS && !BROADCAST) {
    @unroll for (var bit = 0u; bit < ROW_LANE_BITS; bit++) {
      largest = max(largest, subgroupShuffleXor(largest, KEY_LANES << bit));
    }
  }
  return largest;
}

fn sum_of_quads(own: f32) -> f32 {
  var sum = own;
  @if(BROADCAST) sum = subgroupAdd(own);
  @if(SUBGROUPS && !BROADCAST) {
    @unroll for (var bit = 0u; bit < ROW_LANE_BITS; bit++) { sum += subgroupShuffleXor(sum, KEY_LANES << bit); }
  }
  return sum;
}

// The maximum, or the sum, over all quads of a row.
fn max_of_row(row: u32) -> f32 {
  var largest = NO_MAXIMUM;
  @unroll for (var i = 0u; i < LANE_PARTS; i++) { largest = max(largest, lane_value[i * QUAD_LANES * LINE_ROWS + min(row, LINE_ROWS - 1u)]); }
  return largest;
}

fn sum_of_row(row: u32) -> f32 {
  var sum = 0.0;
  @unroll for (var i = 0u; i < LANE_PARTS; i++) { sum += lane_value[i * QUAD_LANES * LINE_ROWS + min(row, LINE_ROWS - 1u)]; }
  return sum;
}

// Writes an octet of one of the rows in `tile`, and with its first octet the row's lse.
fn write_octet(job: Job, first_row: u32, index: u32) {
  let turn_row = index / (COLS * VALUE_LANES);
  let r = first_row + turn_row;
  let row = job.first_row + r;
  let octet = index % (COLS * VALUE_LANES);
  if (row >= job.n_rows || octet * 8u >= params.head_dim_v) { return; }
  let head = head_of(job, row);
  let sums = Sums(row_maximum[r], sum_of_row(r));
  let sums_with_sink = with_sink(sums, head);
  var low = vec4f();
  var high = vec4f();
  let first = (turn_row * COLS + octet / VALUE_LANES) * WG_SIZE + octet % VALUE_LANES;
  for (var group = 0u; group < max(VALUE_GROUPS, ROLLED_LOOP); group++) {
    if (group >= VALUE_GROUPS) { break; }
    low += tile[(first + group * VALUE_LANES) * 2u];
    high += tile[(first + group * VALUE_LANES) * 2u + 1u];
  }
  @if(!KV_E4M3) let out_scale = out_scale_of(sums, sums_with_sink);
  @if(KV_E4M3)  let out_scale = out_scale_of(sums, sums_with_sink) * v_head_scale(job.kv_head) * E4M3_UNIT;
  let row_at = out_row(job, token_of(row), head);
  write_quad(row_at, octet * 8u, params.head_dim_v, low * out_scale);
  write_quad(row_at, octet * 8u + 4u, params.head_dim_v, high * out_scale);
  @if(LSE) if (octet == 0u) { write_lse_of(job, token_of(row), head, sums_with_sink); }
}
