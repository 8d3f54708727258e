// attn_matrix: attention of several query rows over contiguous or paged keys and values, in one pass (FlashAttention), its
// products by subgroup matrices.
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
// A row is one query token of one query head; the `group` heads that share a kv head are packed as neighbouring rows. One
// workgroup takes one item of one kv head: TILE_ROWS rows against every tile of TILE_KEYS keys that any of them can see,
// or those of a chunk (see attention).
//
// Subgroups multiply, invocations do all the rest. Subgroup (strip, column part) multiplies the ROW_BLOCKS · M rows of
// its strip by KEY_BLOCKS · N of the keys, and adds up OUT_BLOCKS · N dims of their output. A matrix cannot be looked
// into, so scores go through workgroup memory: there ROW_LANES lanes have a row, each of them every ROW_LANES-th octet
// of its keys. With s the scores in base 2,
//   p = 2^(s - base)      l' = l 2^(base - base') + sum p      o' = o 2^(base - base') + p v      out = o / l
// where base follows the row's maximum (with KV_I8 see matrix_scales) only when weights would leave f16: o has to go through
// workgroup memory for it.
//
// Stages for each tile of keys, with the two barriers between them; before them, the scores of the first:
//     A
//   2 weights    loads of the next keys and of these values begin; mask, maximum, p; loads are put into the tiles
//     B
//   3 rescale o, if a row's base has moved
//   4 values     p · values                                                           by matrices
//   1 scores     queries · keys of the next tile                                      by matrices
//
// What subgroups multiply lies in workgroup memory (matrix_tiles). Queries, keys and values wait in registers (matrix_loads)
// until they are put there (matrix_staging), those that f16 would not hold times a power of two (matrix_peaks), bytes of a
// quantised cache as codes (matrix_codes, matrix_scales). Keys that no row sees may hold anything (matrix_hidden).
//
// Variants:
//   those of these modules, key_offsets, tile_links, dense_masks, out_rows and attention
//   AHEAD       the next keys and these values are loaded while rows are weighed
//   PINNED      subgroups have SUBGROUP lanes, as the entry point demands
//   VARYING     subgroups may be smaller than SUBGROUP: those beyond WAVES do not multiply

import package::shared::attention::{
  params, item_index, job_of, token_of, head_of, rows_seen, mask_of, scores_of, sees, largest_of, tiles_of,
  Sums, with_sink, out_scale_of, out_row, write_lse_of,
};
@if(SCORE_MOD) import package::shared::attention::modified;
@if(MASK_MOD) import package::shared::attention::lets_see_by_mod;
import package::shared::band::has_all_of;
@if(MASK) import package::shared::dense_masks::{mask_bits, are_set};
@if(BIAS) import package::shared::dense_masks::{bias_of, biased};
import package::shared::key_offsets::{Slot, find_offsets, first_key_of, have_pages, keep_offsets_in_tile, slot_in_tile};
@if(KV_E4M3) import package::shared::kv_scales::{k_head_scale, v_head_scale};
import package::shared::lanes::MANY;
import package::shared::matrix_codes::paired;
import package::shared::matrix_hidden::{clear_values, mark_keys, mark_values, note_seen_keys, peak_of_keys, peak_of_values};
import package::shared::matrix_loads::{
  Loaded, LoadedQuery, load_value, octet_of_query, received_key, received_query, received_value, request_key, request_query,
  request_value,
};
import package::shared::matrix_peaks::{
  Scales, scale_for, peaks, peak_of, Q_PEAK, K_PEAK, V_PEAK, ROOM, LARGEST, magnitude_of, magnitude_of_loaded, peak_of_octet,
};
import package::shared::matrix_scales::{
  KeyScales, load_scales, put_scales, k_scales, scaled_weights, v_bounds,
};
import package::shared::matrix_staging::{put_key, put_query, put_rest, put_value, stage_keys, stage_values};
import package::shared::matrix_tiles::{
  tiles, scores, weights, words_of, STRIP_ROWS, TILE_ROWS, WORD, VALUES, K_OCTETS, K_LINE, V_LINE, P_LINE, S_LINE,
};
import package::shared::octets::Octet;
@if(OUT_OCTETS)  import package::shared::out_rows::write_halves;
@if(!OUT_OCTETS) import package::shared::out_rows::write_quad;
@if(LINKED) import package::shared::tile_links::{first_visited, is_full, links_at, visited_after};
import package::shared::scores::{MASKED, NO_MAXIMUM};
import constants::{
  WG_SIZE, TILE_KEYS, M, N, K, SUBGROUP, STRIPS, PARTS, ROW_BLOCKS, KEY_BLOCKS, OUT_BLOCKS, HEAD_STEPS, KEY_STEPS,
  Q_LINES, Q_TURNS, Q_LOADS, K_LOADS, V_LOADS, LOOKUPS, LANE_OCTETS, OUT_TURNS, ROW_LANES, ROW_LANE_BITS, LANE_STEP,
};

@if(F16_TILES) enable f16;
enable subgroups;
@if(PINNED) enable subgroup_size_control;
enable chromium_experimental_subgroup_matrix;
// Subgroups of a workgroup multiply different blocks, each of them as a whole.
diagnostic(off, chromium.subgroup_matrix_uniformity);

@if(F16_TILES)  alias Operand = f16;
@if(!F16_TILES) alias Operand = f32;
alias Left = subgroup_matrix_left<Operand, K, M>;
alias Right = subgroup_matrix_right<Operand, N, K>;
alias Product = subgroup_matrix_result<f32, N, M>;

const WAVES = STRIPS * PARTS;
// Quads of o that a row has in workgroup memory at a time.
const O_QUADS = PARTS * N / 4;
// A weight starts at most at 2^START and moves the base beyond 2^LIMIT; small ones still count down to 2^-24.
const START = 6.0;
const LIMIT = 15.0;

// Whether a base or a scale has, in even and odd tiles; with CHECKS_VALUES, whether a peak or a value is beyond its tile.
var<workgroup> has_moved: array<u32, 4>;

@compute @workgroup_size(WG_SIZE) @if(PINNED) @subgroup_size(SUBGROUP)
fn attn_matrix(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_size) subgroup_size: u32,
  @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
  let workgroup_index = workgroup_id.y * grid.x + workgroup_id.x;
  if (item_index(workgroup_index) >= params.end_item) { return; }
  let job = job_of(workgroup_index, TILE_ROWS);
  if (job.first_row >= job.n_rows) { return; }
  let sequence = job.sequence;

  // Minima show compilers that indices are within bounds: drivers then put constants into the addresses of loads and stores.
  // A remainder would reach them as a subtraction, of which they know nothing.
  let strip = min(subgroup / PARTS, STRIPS - 1u);
  let part = min(subgroup % PARTS, PARTS - 1u);
  let first_strip_row = strip * STRIP_ROWS;
  @if(VARYING)  let multiplies = subgroup < WAVES;
  @if(!VARYING) let multiplies = true;
  let invocation = min(subgroup * subgroup_size + subgroup_lane, WG_SIZE - 1u);
  let row_lane = min(invocation / LANE_STEP % ROW_LANES, ROW_LANES - 1u);
  let tile_row = min(invocation / (LANE_STEP * ROW_LANES) * LANE_STEP + invocation % LANE_STEP, TILE_ROWS - 1u);
  let row = job.first_row + tile_row;
  let mask = mask_of(job, row);

  let rows = rows_seen(job, TILE_ROWS);
  let seen = rows.by_any;
  let range = tiles_of(job.item, seen, TILE_KEYS);
  @if(LINKED)  let links = links_at(item_index(workgroup_index), job.kv_head);
  @if(LINKED)  let first_tile = first_visited(links, range);
  @if(LINKED)  let second_tile = visited_after(links, range, first_tile);
  @if(!LINKED) let first_tile = range.first;
  @if(!LINKED) let second_tile = range.first + 1u;

  // All loads that come before the first tile begin before any of them is waited for.
  @registers var queries: array<array<LoadedQuery, Q_LOADS>, Q_TURNS>;
  @unroll for (var turn = 0u; turn < Q_TURNS; turn++) {
    @unroll for (var i = 0u; i < Q_LOADS; i++) { queries[turn][i] = request_query(job, turn * Q_LINES, i * WG_SIZE + invocation); }
  }
  if (invocation < 4u) { has_moved[invocation] = 0u; }
  @if(SCALED) { if (invocation < 4u) { atomicStore(&peaks[invocation], 0u); } }
  // Scales need the pages of their keys when these are loaded, a tile after they were looked up.
  @if(KV_I8) @registers var slots: array<Slot, LOOKUPS>;
  @if(KV_I8) @unroll for (var i = 0u; i < LOOKUPS; i++) { slots[i] = slot_in_tile(sequence, seen, first_tile, i * WG_SIZE + invocation); }
  @if(PAGED && !KV_I8) find_offsets(sequence, seen, first_tile, invocation);
  @if(PAGED && KV_I8) @unroll for (var i = 0u; i < LOOKUPS; i++) { keep_offsets_in_tile(sequence, first_tile, i * WG_SIZE + invocation, slots[i]); }
  @if(PAGED || SCALED) workgroupBarrier();
  // Where there is no tile, some key that is never used.
  @registers var first_keys: array<Loaded, K_LOADS>;
  @unroll for (var i = 0u; i < K_LOADS; i++) { first_keys[i] = request_key(job, seen, first_tile, i * WG_SIZE + invocation); }
  @if(KV_I8) @unroll for (var i = 0u; i < LOOKUPS; i++) {
    let tile_key = i * WG_SIZE + invocation;
    put_scales(tile_key, load_scales(job, slots[i], tile_key));
  }
  @if(KV_I8) @unroll for (var i = 0u; i < LOOKUPS; i++) { slots[i] = slot_in_tile(sequence, seen, second_tile, i * WG_SIZE + invocation); }
  @unroll for (var turn = 0u; turn < Q_TURNS; turn++) {
    @unroll for (var i = 0u; i < Q_LOADS; i++) { queries[turn][i] = received_query(queries[turn][i], i * WG_SIZE + invocation); }
  }
  var scale = Scales(1.0, 1.0, 1.0);
  @if(SCALED) {
    var q_largest = 0.0;
    var k_largest = 0.0;
    var v_largest = 0.0;
    // With HIDES, values wait for their weights.
    @if(KV_SCALED && !HIDES) @unroll for (var i = 0u; i < V_LOADS; i++) {
      v_largest = max(v_largest, magnitude_of_loaded(load_value(job, seen, first_tile, i * WG_SIZE + invocation)));
    }
    @if(Q_SCALED) @unroll for (var turn = 0u; turn < Q_TURNS; turn++) {
      @if(!HIDES) @unroll for (var i = 0u; i < Q_LOADS; i++) { q_largest = max(q_largest, magnitude_of(octet_of_query(queries[turn][i]))); }
      @if(HIDES) @unroll for (var i = 0u; i < Q_LOADS; i++) { q_largest = max(q_largest, peak_of_octet(octet_of_query(queries[turn][i]))); }
    }
    @if(KV_SCALED && !HIDES) @unroll for (var i = 0u; i < K_LOADS; i++) {
      k_largest = max(k_largest, magnitude_of_loaded(received_key(first_keys[i], first_tile, i * WG_SIZE + invocation)));
    }
    @if(KV_SCALED && HIDES) {
      note_seen_keys(mask, sequence.k_len, first_key_of(seen, first_tile), first_tile, tile_row, row_lane);
      workgroupBarrier();
      mark_keys(job, invocation);
      workgroupBarrier();
      k_largest = peak_of_keys(job, seen, first_tile, invocation);
    }
    @if(Q_SCALED) atomicMax(&peaks[Q_PEAK], bitcast<u32>(q_largest));
    @if(KV_SCALED) atomicMax(&peaks[K_PEAK], bitcast<u32>(k_largest));
    @if(KV_SCALED) atomicMax(&peaks[V_PEAK], bitcast<u32>(v_largest));
    workgroupBarrier();
    @if(Q_SCALED) scale.q = scale_for(peak_of(Q_PEAK));
    @if(KV_SCALED) scale.k = scale_for(peak_of(K_PEAK));
    @if(KV_SCALED) scale.v = scale_for(peak_of(V_PEAK));
  }

  @registers var q_blocks: array<array<Left, HEAD_STEPS>, ROW_BLOCKS>;
  @if(Q_SPLIT) @registers var q_rests: array<array<Left, HEAD_STEPS>, ROW_BLOCKS>;
  @unroll for (var turn = 0u; turn < Q_TURNS; turn++) {
    @unroll for (var i = 0u; i < Q_LOADS; i++) { put_query(i * WG_SIZE + invocation, queries[turn][i], scale.q); }
    workgroupBarrier();
    @unroll for (var r = 0u; r < ROW_BLOCKS; r++) {
      let block_row = first_strip_row + r * M;
      if (Q_TURNS == 1 || block_row / Q_LINES == turn) {
        let line = block_row % Q_LINES * K_LINE;
        @unroll for (var step = 0u; step < HEAD_STEPS; step++) {
          q_blocks[r][step] = subgroupMatrixLoad<Left, row_major>(&tiles, line + step * K / WORD, K_LINE);
        }
      }
    }
    workgroupBarrier();
    @if(Q_SPLIT) {
      @unroll for (var i = 0u; i < Q_LOADS; i++) { put_rest(i * WG_SIZE + invocation, queries[turn][i], scale.q); }
      workgroupBarrier();
      @unroll for (var r = 0u; r < ROW_BLOCKS; r++) {
        let block_row = first_strip_row + r * M;
        if (Q_TURNS == 1 || block_row / Q_LINES == turn) {
          let line = block_row % Q_LINES * K_LINE;
          @unroll for (var step = 0u; step < HEAD_STEPS; step++) {
            q_rests[r][step] = subgroupMatrixLoad<Left, row_major>(&tiles, line + step * K / WORD, K_LINE);
          }
        }
      }
      workgroupBarrier();
    }
  }
  @if(PAGED && !KV_I8) find_offsets(sequence, seen, second_tile, invocation);
  @if(PAGED && KV_I8) @unroll for (var i = 0u; i < LOOKUPS; i++) { keep_offsets_in_tile(sequence, second_tile, i * WG_SIZE + invocation, slots[i]); }
  @unroll for (var i = 0u; i < K_LOADS; i++) {
    let index = i * WG_SIZE + invocation;
    _ = put_key(index, received_key(first_keys[i], first_tile, index), scale.k);
  }
  workgroupBarrier();

  @registers var o: array<array<Product, OUT_BLOCKS>, ROW_BLOCKS>;
  var base = NO_MAXIMUM;
  var total = 0.0;
  // 1 scores of the first tile
  if (multiplies) {
    @registers var s: array<array<Product, KEY_BLOCKS>, ROW_BLOCKS>;
    @unroll for (var step = 0u; step < HEAD_STEPS; step++) {
      @unroll for (var block = 0u; block < KEY_BLOCKS; block++) {
        let keys = subgroupMatrixLoad<Right, col_major>(
          &tiles, (part * KEY_BLOCKS + block) * N * K_LINE + step * K / WORD, K_LINE,
        );
        @unroll for (var r = 0u; r < ROW_BLOCKS; r++) {
          s[r][block] = subgroupMatrixMultiplyAccumulate(q_blocks[r][step], keys, s[r][block]);
          @if(Q_SPLIT) s[r][block] = subgroupMatrixMultiplyAccumulate(q_rests[r][step], keys, s[r][block]);
        }
        @if(K_SPLIT) {
          let rests = subgroupMatrixLoad<Right, col_major>(
            &tiles, (part * KEY_BLOCKS + block) * N * K_LINE + K_OCTETS + step * K / WORD, K_LINE,
          );
          @unroll for (var r = 0u; r < ROW_BLOCKS; r++) {
            s[r][block] = subgroupMatrixMultiplyAccumulate(q_blocks[r][step], rests, s[r][block]);
          }
        }
      }
    }
    @unroll for (var r = 0u; r < ROW_BLOCKS; r++) {
      @unroll for (var block = 0u; block < KEY_BLOCKS; block++) {
        let at = (first_strip_row + r * M) * S_LINE + (part * KEY_BLOCKS + block) * N / 4;
        subgroupMatrixStore<row_major>(&scores, at, s[r][block], S_LINE);
      }
    }
  }
  for (var tile = first_tile; tile < MANY; tile++) {
    if (tile >= range.end) { break; }
    @if(LINKED)  let next_tile = visited_after(links, range, tile);
    @if(LINKED)  let tile_after = visited_after(links, range, next_tile);
    @if(!LINKED) let tile_after = tile + 2u;
    let first_key = first_key_of(seen, tile);

    workgroupBarrier();  // A

    // 2 weights
    // After the last tile comes that tile again: a branch would cost more.
    @if(LINKED)  let next = select(tile, next_tile, next_tile < range.end);
    @if(!LINKED) let next = min(tile + 1u, range.end - 1u);
    @if(AHEAD) @registers var next_keys: array<Loaded, K_LOADS>;
    @if(AHEAD) @registers var values: array<Loaded, V_LOADS>;
    @if(AHEAD) {
      @unroll for (var i = 0u; i < K_LOADS; i++) { next_keys[i] = request_key(job, seen, next, i * WG_SIZE + invocation); }
      @unroll for (var i = 0u; i < V_LOADS; i++) { values[i] = request_value(job, seen, tile, i * WG_SIZE + invocation); }
    }
    @if(KV_I8) @registers var next_scales: array<KeyScales, LOOKUPS>;
    @if(KV_I8) @unroll for (var i = 0u; i < LOOKUPS; i++) { next_scales[i] = load_scales(job, slots[i], i * WG_SIZE + invocation); }
    @if(KV_I8) @unroll for (var i = 0u; i < LOOKUPS; i++) { slots[i] = slot_in_tile(sequence, seen, tile_after, i * WG_SIZE + invocation); }
    if (invocation == 0u) { has_moved[(tile + 1u) % 2u] = 0u; }
    @if(CHECKS_VALUES) if (invocation == 0u) { has_moved[2u + (tile + 1u) % 2u] = 0u; }

    let has_hidden = !has_all_of(rows.by_all, i32(first_key), i32(first_key + TILE_KEYS) - 1);
    @registers var low: array<vec4f, LANE_OCTETS>;    // the lane's octets: scores, then weights
    @registers var high: array<vec4f, LANE_OCTETS>;
    var largest = MASKED;
    @unroll for (var i = 0u; i < LANE_OCTETS; i++) {
      let octet = i * ROW_LANES + row_lane;
      let at = tile_row * S_LINE + octet * 2u;
      low[i] = scores[at];
      high[i] = scores[at + 1u];
      @if(Q_SCALED) low[i] /= scale.q;
      @if(Q_SCALED) high[i] /= scale.q;
      @if(KV_SCALED) low[i] /= scale.k;
      @if(KV_SCALED) high[i] /= scale.k;
      @if(KV_I8) low[i] *= k_scales[octet * 2u];
      @if(KV_I8) high[i] *= k_scales[octet * 2u + 1u];
      @if(KV_E4M3) low[i] *= k_head_scale(job.kv_head);
      @if(KV_E4M3) high[i] *= k_head_scale(job.kv_head);
      let key = vec4i(i32(first_key + octet * 8u)) + vec4i(0, 1, 2, 3);
      low[i] = scores_of(low[i], key, mask);
      high[i] = scores_of(high[i], key + 4, mask);
      @if(BIAS) low[i] = biased(low[i], bias_of(mask.bias_row, first_key + octet * 8u, sequence.k_len));
      @if(BIAS) high[i] = biased(high[i], bias_of(mask.bias_row, first_key + octet * 8u + 4u, sequence.k_len));
      @if(SCORE_MOD) low[i] = modified(low[i], key, mask);
      @if(SCORE_MOD) high[i] = modified(high[i], key + 4, mask);
      @if(PAGED)  let is_there = have_pages(tile, octet * 2u);
      @if(PAGED)  let is_there_high = have_pages(tile, octet * 2u + 1u);
      @if((MASK || BLOCKS || MASK_MOD) && !LINKED) let has_hidden_keys = true;
      @if(LINKED)           let has_hidden_bits = has_hidden || !is_full(links, range, tile);
      @if(PAGED && LINKED)  let has_hidden_keys = has_hidden_bits || !all(is_there & is_there_high);
      @if(!PAGED && LINKED) let has_hidden_keys = has_hidden_bits;
      @if(PAGED && !MASK && !BLOCKS && !MASK_MOD)  let has_hidden_keys = has_hidden || !all(is_there & is_there_high);
      @if(!PAGED && !MASK && !BLOCKS && !MASK_MOD) let has_hidden_keys = has_hidden;
      if (has_hidden_keys) {
        var is_seen = sees(mask, key);
        var is_seen_high = sees(mask, key + 4);
        @if(PAGED) is_seen &= is_there;
        @if(PAGED) is_seen_high &= is_there_high;
        @if(MASK) {
          // Both quads are in one word.
          let bits = mask_bits(mask.mask_row, first_key + octet * 8u, sequence.k_len);
          is_seen &= are_set(bits);
          is_seen_high &= are_set(bits >> 4u);
        }
        @if(MASK_MOD) is_seen &= lets_see_by_mod(mask, key);
        @if(MASK_MOD) is_seen_high &= lets_see_by_mod(mask, key + 4);
        low[i] = select(vec4f(MASKED), low[i], is_seen);
        high[i] = select(vec4f(MASKED), high[i], is_seen_high);
      }
      @if(!KV_I8) largest = max(largest, max(largest_of(low[i]), largest_of(high[i])));
      @if(KV_I8)  largest = max(largest, largest_of(low[i] + v_bounds[octet * 2u]));
      @if(KV_I8)  largest = max(largest, largest_of(high[i] + v_bounds[octet * 2u + 1u]));
    }
    @unroll for (var bit = 0u; bit < ROW_LANE_BITS; bit++) {
      largest = max(largest, subgroupShuffleXor(largest, LANE_STEP << bit));
    }
    let previous = base;
    if (largest > base + LIMIT) {
      base = largest - START;
      has_moved[tile % 2u] = 1u;
    }
    var sum = vec4f();
    @unroll for (var i = 0u; i < LANE_OCTETS; i++) {
      low[i] = exp2(low[i] - base);
      high[i] = exp2(high[i] - base);
      sum += low[i] + high[i];
      let octet = i * ROW_LANES + row_lane;
      @if(KV_I8) low[i] = scaled_weights(low[i], octet * 2u);
      @if(KV_I8) high[i] = scaled_weights(high[i], octet * 2u + 1u);
      let words = words_of(Octet(low[i], high[i]));
      let at = tile_row * P_LINE + octet * (8 / WORD);
      weights[at] = words.low;
      @if(!F16_TILES) weights[at + 1u] = words.high;
    }
    var rescale = exp2(previous - base);
    total = total * rescale + dot(sum, vec4f(1));

    var k_largest = 0.0;
    var v_largest = 0.0;
    @if(AHEAD) {
      @unroll for (var i = 0u; i < K_LOADS; i++) {
        let index = i * WG_SIZE + invocation;
        k_largest = max(k_largest, put_key(index, received_key(next_keys[i], next, index), scale.k));
      }
      @unroll for (var i = 0u; i < V_LOADS; i++) {
        let index = i * WG_SIZE + invocation;
        v_largest = max(v_largest, put_value(index, received_value(values[i], tile, index), scale.v));
      }
    }
    @if(!AHEAD) {
      k_largest = stage_keys(job, seen, next, scale.k, invocation);
      v_largest = stage_values(job, seen, tile, scale.v, invocation);
    }
    @if(KV_SCALED && !HIDES) {
      if (k_largest > ROOM / scale.k || v_largest > ROOM / scale.v) {
        atomicMax(&peaks[K_PEAK], bitcast<u32>(k_largest));
        atomicMax(&peaks[V_PEAK], bitcast<u32>(v_largest));
        has_moved[tile % 2u] = 1u;
      }
    }
    @if(KV_SCALED && CHECKS_VALUES)  let is_beyond = k_largest > ROOM / scale.k || v_largest > ROOM / scale.v;
    @if(!KV_SCALED && CHECKS_VALUES) let is_beyond = v_largest > LARGEST;
    @if(CHECKS_VALUES) if (is_beyond) { has_moved[2u + tile % 2u] = 1u; }
    @if(!CHECKS_VALUES) let must_rescale = workgroupUniformLoad(&has_moved[tile % 2u]) != 0u;  // B
    @if(CHECKS_VALUES) let moved = workgroupUniformLoad(&has_moved);  // B
    @if(CHECKS_VALUES) let any_is_beyond = select(moved[2], moved[3], tile % 2u == 1u) != 0u;
    @if(KV_SCALED && CHECKS_VALUES)  let must_rescale = any_is_beyond || select(moved[0], moved[1], tile % 2u == 1u) != 0u;
    @if(!KV_SCALED && CHECKS_VALUES) let must_rescale = select(moved[0], moved[1], tile % 2u == 1u) != 0u;
    @if(!KV_SCALED && CHECKS_VALUES) {
      if (any_is_beyond) {
        mark_values(job, invocation);
        workgroupBarrier();
        clear_values(invocation);
        workgroupBarrier();
      }
    }

    // 3 rescale o
    if (must_rescale) {
      @if(KV_SCALED && CHECKS_VALUES) {
        mark_values(job, invocation);
        if (any_is_beyond) {
          note_seen_keys(mask, sequence.k_len, first_key_of(seen, next), next, tile_row, row_lane);
          workgroupBarrier();
          mark_keys(job, invocation);
          workgroupBarrier();
          atomicMax(&peaks[K_PEAK], bitcast<u32>(peak_of_keys(job, seen, next, invocation)));
          atomicMax(&peaks[V_PEAK], bitcast<u32>(peak_of_values(job, seen, tile, invocation)));
        }
        workgroupBarrier();
      }
      @if(KV_SCALED) {
        scale.k = scale_for(peak_of(K_PEAK));
        _ = stage_keys(job, seen, next, scale.k, invocation);
        let previous_scale = scale.v;
        scale.v = scale_for(peak_of(V_PEAK));
        rescale *= scale.v / previous_scale;
        _ = stage_values(job, seen, tile, scale.v, invocation);
        @if(CHECKS_VALUES) clear_values(invocation);
        workgroupBarrier();
      }
      if (tile > first_tile) {
        @unroll for (var block = 0u; block < OUT_BLOCKS; block++) {
          @unroll for (var r = 0u; r < ROW_BLOCKS; r++) {
            if (multiplies) {
              subgroupMatrixStore<row_major>(&scores, (first_strip_row + r * M) * S_LINE + part * N / 4, o[r][block], S_LINE);
            }
          }
          workgroupBarrier();
          for (var quad = row_lane; quad < O_QUADS; quad += ROW_LANES) { scores[tile_row * S_LINE + quad] *= rescale; }
          workgroupBarrier();
          @unroll for (var r = 0u; r < ROW_BLOCKS; r++) {
            if (multiplies) {
              o[r][block] = subgroupMatrixLoad<Product, row_major>(
                &scores, (first_strip_row + r * M) * S_LINE + part * N / 4, S_LINE,
              );
            }
          }
          workgroupBarrier();
        }
      }
    }
    @if(PAGED && !KV_I8) find_offsets(sequence, seen, tile_after, invocation);
    @if(PAGED && KV_I8) @unroll for (var i = 0u; i < LOOKUPS; i++) { keep_offsets_in_tile(sequence, tile_after, i * WG_SIZE + invocation, slots[i]); }
    @if(KV_I8) @unroll for (var i = 0u; i < LOOKUPS; i++) { put_scales(i * WG_SIZE + invocation, next_scales[i]); }

    // 4 values
    if (multiplies) {
      @unroll for (var step = 0u; step < KEY_STEPS; step++) {
        @registers var p: array<Left, ROW_BLOCKS>;
        @unroll for (var r = 0u; r < ROW_BLOCKS; r++) {
          p[r] = subgroupMatrixLoad<Left, row_major>(&weights, (first_strip_row + r * M) * P_LINE + step * K / WORD, P_LINE);
        }
        @unroll for (var block = 0u; block < OUT_BLOCKS; block++) {
          let dims = subgroupMatrixLoad<Right, row_major>(
            &tiles, VALUES + step * K * V_LINE + part * (OUT_BLOCKS * N / WORD) + block * N / WORD, V_LINE,
          );
          @unroll for (var r = 0u; r < ROW_BLOCKS; r++) { o[r][block] = subgroupMatrixMultiplyAccumulate(p[r], dims, o[r][block]); }
        }
      }
    }

    // 1 scores of the next tile, here rather than at the head of the loop, so that their loads and products mix with those
    // of the values
    if (multiplies) {
      @registers var s: array<array<Product, KEY_BLOCKS>, ROW_BLOCKS>;
      @unroll for (var step = 0u; step < HEAD_STEPS; step++) {
        @unroll for (var block = 0u; block < KEY_BLOCKS; block++) {
          let keys = subgroupMatrixLoad<Right, col_major>(
            &tiles, (part * KEY_BLOCKS + block) * N * K_LINE + step * K / WORD, K_LINE,
          );
          @unroll for (var r = 0u; r < ROW_BLOCKS; r++) {
            s[r][block] = subgroupMatrixMultiplyAccumulate(q_blocks[r][step], keys, s[r][block]);
            @if(Q_SPLIT) s[r][block] = subgroupMatrixMultiplyAccumulate(q_rests[r][step], keys, s[r][block]);
          }
          @if(K_SPLIT) {
            let rests = subgroupMatrixLoad<Right, col_major>(
              &tiles, (part * KEY_BLOCKS + block) * N * K_LINE + K_OCTETS + step * K / WORD, K_LINE,
            );
            @unroll for (var r = 0u; r < ROW_BLOCKS; r++) {
              s[r][block] = subgroupMatrixMultiplyAccumulate(q_blocks[r][step], rests, s[r][block]);
            }
          }
        }
      }
      @unroll for (var r = 0u; r < ROW_BLOCKS; r++) {
        @unroll for (var block = 0u; block < KEY_BLOCKS; block++) {
          let at = (first_strip_row + r * M) * S_LINE + (part * KEY_BLOCKS + block) * N / 4;
          subgroupMatrixStore<row_major>(&scores, at, s[r][block], S_LINE);
        }
      }
    }
    @if(LINKED) tile = next_tile - 1u;
  }

  @unroll for (var bit = 0u; bit < ROW_LANE_BITS; bit++) { total += subgroupShuffleXor(total, LANE_STEP << bit); }
  let sums = Sums(base, total);
  let head = head_of(job, row);
  let sums_with_sink = with_sink(sums, head);
  let is_row = row < job.n_rows;
  @if(LSE) if (is_row && row_lane == 0u) { write_lse_of(job, token_of(row), head, sums_with_sink); }
  var out_scale = out_scale_of(sums, sums_with_sink);
  @if(KV_SCALED) out_scale /= scale.v;
  @if(KV_E4M3) out_scale *= v_head_scale(job.kv_head);
  let out_at = out_row(job, token_of(row), head);
  @unroll for (var block = 0u; block < OUT_BLOCKS; block++) {
    workgroupBarrier();
    @unroll for (var r = 0u; r < ROW_BLOCKS; r++) {
      if (multiplies) {
        subgroupMatrixStore<row_major>(&scores, (first_strip_row + r * M) * S_LINE + part * N / 4, o[r][block], S_LINE);
      }
    }
    workgroupBarrier();
    if (is_row) {
      @if(OUT_OCTETS) @unroll for (var i = 0u; i < OUT_TURNS; i++) {
        let quad = (i * ROW_LANES + row_lane) * 2u;
        if (O_QUADS % (ROW_LANES * 2) == 0 || quad < O_QUADS) {
          let at = tile_row * S_LINE + quad;
          write_halves(
            out_at, dim_of(quad, block), params.head_dim_v, paired(scores[at]) * out_scale, paired(scores[at + 1u]) * out_scale,
          );
        }
      }
      @if(!OUT_OCTETS) for (var quad = row_lane; quad < O_QUADS; quad += ROW_LANES) {
        write_quad(out_at, dim_of(quad, block), params.head_dim_v, paired(scores[tile_row * S_LINE + quad]) * out_scale);
      }
    }
  }
}

// The first dim of a quad of scores that has some of the output's, of block `block` of each part.
fn dim_of(quad: u32, block: u32) -> u32 {
  return (quad / (N / 4) * OUT_BLOCKS + block) * N + quad % (N / 4) * 4u;
}
