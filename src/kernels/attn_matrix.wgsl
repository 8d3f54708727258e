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
// where base follows the row's maximum only when weights would leave f16: o has to go through workgroup memory for it.
//
// Stages for each tile of keys, with the two barriers between them; before them, the scores of the first:
//     A
//   2 weights    loads of the next keys and of these values begin; mask, maximum, p; loads are put into the tiles
//     B
//   3 rescale o, if a row's base has moved
//   4 values     p · values                                                           by matrices
//   1 scores     queries · keys of the next tile                                      by matrices
//
// bf16 has the range of f32, tiles of f16 do not: with SCALED each operand is multiplied by a power of two, one for all
// that the workgroup has seen of it, which follows its peak. What is below 2^-35 of the peak is lost.
//
// With HIDES a tile may have keys that no row sees, which may hold anything. Values are looked at while they are put: where one
// is too large for its tile, or NaN, those of keys without weight become zeros. Neither they nor keys that masks hide set a peak.
//
// Variants:
//   those of octets, key_offsets, dense_masks, out_rows and attention
//   F16_TILES   operands are f16; else f32. Sums are f32 in any case
//   SCALED      operands of f16 tiles are scaled, as q, k or v is bf16
//   Q_RAW       queries wait in registers as they are stored: Q_WIDE and Q_HALVES
//   Q_COPIED    and go into tiles unchanged: Q_RAW, F16_TILES, Q_F16, not SCALED
//   RAW         keys and values wait in registers as they are stored: KV_WIDE and KV_HALVES
//   COPIED      and go into the tiles unchanged: RAW, F16_TILES, KV_F16, not SCALED
//   PADDED      a head is smaller than its place in tiles, and zeros follow
//   AHEAD       the next keys and these values are loaded while rows are weighed
//   PINNED      subgroups have SUBGROUP lanes, as the entry point demands
//   VARYING     subgroups may be smaller than SUBGROUP: those beyond WAVES do not multiply
//
// Of a quantised cache (see octets) elements are multiplied by their scales as they are loaded. e4m3 fits into f16 as it is,
// so scores and outputs are multiplied by the scales of heads instead; i8 and i4 are for tiles of f32.

import package::shared::attention::{
  params, Job, item_index, job_of, token_of, head_of, rows_seen, mask_of, scores_of, sees, largest_of, tiles_of,
  Sums, with_sink, out_scale_of, out_row, write_lse_of,
};
@if(SCALED && HIDES) import package::shared::attention::RowMask;
@if(SCORE_MOD) import package::shared::attention::modified;
@if(MASK_MOD) import package::shared::attention::lets_see_by_mod;
import package::shared::band::{Band, has_all_of};
@if(MASK) import package::shared::dense_masks::{mask_bits, are_set};
@if(BIAS) import package::shared::dense_masks::{bias_of, biased};
import package::shared::key_offsets::{find_offsets, first_key_of, k_offset, v_offset, has_page, have_pages};
@if(KV_SCALES) import package::shared::kv_scales::{key_scale, value_scale};
@if(KV_E4M3) import package::shared::kv_scales::{k_head_scale, v_head_scale};
@if(KV_E4M3) import package::shared::elements::E4M3_UNIT;
import package::shared::lanes::MANY;
import package::shared::octets::{Octet, q_octet, k_octet, v_octet, q, k, v};
@if(KV_QUANTISED) import package::shared::octets::scaled_octet;
@if(HIDES) import package::shared::octets::largest_bits;
@if(OUT_OCTETS)  import package::shared::out_rows::write_halves;
@if(!OUT_OCTETS) import package::shared::out_rows::write_quad;
@if(LINKED) import package::shared::tile_links::{first_visited, is_full, links_at, visited_after};
import package::shared::scores::{MASKED, NO_MAXIMUM};
@if(Q_F16)   import package::shared::elements::quad_from_f16 as quad_from_q;
@if(Q_BF16)  import package::shared::elements::quad_from_bf16 as quad_from_q;
@if(KV_F16)  import package::shared::elements::quad_from_f16 as quad_from_kv;
@if(KV_BF16) import package::shared::elements::quad_from_bf16 as quad_from_kv;
import constants::{
  WG_SIZE, TILE_KEYS, M, N, K, SUBGROUP, STRIPS, PARTS, ROW_BLOCKS, KEY_BLOCKS, OUT_BLOCKS, HEAD_STEPS, KEY_STEPS,
  Q_LINES, Q_TURNS, Q_LOADS, K_LOADS, V_LOADS, LANE_OCTETS, ROW_LANES, ROW_LANE_BITS, LANE_STEP,
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

const STRIP_ROWS = ROW_BLOCKS * M;
const TILE_ROWS = STRIPS * STRIP_ROWS;
const WAVES = STRIPS * PARTS;
const K_OCTETS = HEAD_STEPS * K / 8;
const V_OCTETS = OUT_BLOCKS * PARTS * N / 8;
// Tiles consist of words of 16 bytes. A word more in each line puts those of a column of the tile on different banks.
@if(F16_TILES)  const WORD = 8;
@if(!F16_TILES) const WORD = 4;
const K_LINE = K_OCTETS * 8 / WORD + 1;
const V_LINE = V_OCTETS * 8 / WORD + 1;
const P_LINE = TILE_KEYS / WORD + 1;
const S_LINE = TILE_KEYS / 4 + 1;
// Where values begin in the tiles.
const VALUES = TILE_KEYS * K_LINE;
// Quads of o that a row has in workgroup memory at a time.
const O_QUADS = PARTS * N / 4;
// A weight starts at most at 2^START and moves the base beyond 2^LIMIT; small ones still count down to 2^-24.
const START = 6.0;
const LIMIT = 15.0;

@if(Q_RAW)  alias LoadedQuery = vec4u;
@if(!Q_RAW) alias LoadedQuery = Octet;
@if(RAW)  alias Loaded = vec4u;
@if(!RAW) alias Loaded = Octet;

var<workgroup> tiles: array<vec4u, VALUES + TILE_KEYS * V_LINE>;   // keys, then values [key][dim]; before them, queries
var<workgroup> scores: array<vec4f, TILE_ROWS * S_LINE>;       // [row][key]; then o [row][part][dim of a block]
var<workgroup> weights: array<vec4u, TILE_ROWS * P_LINE>;      // [row][key]
var<workgroup> has_moved: array<u32, 4>;                       // whether a base or a scale has, in even and odd tiles;
                                                               // with HIDES, whether a peak or a value is beyond its tile
@if(SCALED) var<workgroup> peaks: array<atomic<u32>, 4>;       // bits of the largest magnitude of q, k and v so far

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

  let strip = subgroup / PARTS % STRIPS;
  let part = subgroup % PARTS;
  let first_strip_row = strip * STRIP_ROWS;
  @if(VARYING)  let multiplies = subgroup < WAVES;
  @if(!VARYING) let multiplies = true;
  // Remainders show compilers that indices are within bounds.
  let invocation = (subgroup * subgroup_size + subgroup_lane) % WG_SIZE;
  let row_lane = invocation / LANE_STEP % ROW_LANES;
  let tile_row = (invocation / (LANE_STEP * ROW_LANES) * LANE_STEP + invocation % LANE_STEP) % TILE_ROWS;
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
    @unroll for (var i = 0u; i < Q_LOADS; i++) { queries[turn][i] = load_query(job, turn * Q_LINES, i * WG_SIZE + invocation); }
  }
  if (invocation < 4u) { has_moved[invocation] = 0u; }
  @if(SCALED) { if (invocation < 4u) { atomicStore(&peaks[invocation], 0u); } }
  @if(PAGED) {
    find_offsets(sequence, seen, first_tile, invocation);
    find_offsets(sequence, seen, second_tile, invocation);
  }
  @if(PAGED || SCALED) workgroupBarrier();
  // Where there is no tile, some key that is never used.
  @registers var first_keys: array<Loaded, K_LOADS>;
  @unroll for (var i = 0u; i < K_LOADS; i++) { first_keys[i] = load_key(job, seen, first_tile, i * WG_SIZE + invocation); }
  var scale = Scales(1.0, 1.0, 1.0);
  @if(SCALED) {
    var q_largest = 0.0;
    var k_largest = 0.0;
    var v_largest = 0.0;
    // With HIDES, values wait for their weights.
    @if(!HIDES) @unroll for (var i = 0u; i < V_LOADS; i++) {
      v_largest = max(v_largest, magnitude_of(octet_of(load_value(job, seen, first_tile, i * WG_SIZE + invocation))));
    }
    @unroll for (var turn = 0u; turn < Q_TURNS; turn++) {
      @if(!HIDES) @unroll for (var i = 0u; i < Q_LOADS; i++) { q_largest = max(q_largest, magnitude_of(octet_of_query(queries[turn][i]))); }
      @if(HIDES) @unroll for (var i = 0u; i < Q_LOADS; i++) { q_largest = max(q_largest, peak_of_octet(octet_of_query(queries[turn][i]))); }
    }
    @if(!HIDES) @unroll for (var i = 0u; i < K_LOADS; i++) { k_largest = max(k_largest, magnitude_of(octet_of(first_keys[i]))); }
    @if(HIDES) {
      note_seen_keys(mask, sequence.k_len, first_key_of(seen, first_tile), first_tile, tile_row, row_lane);
      workgroupBarrier();
      mark_keys(job, invocation);
      workgroupBarrier();
      k_largest = peak_of_keys(job, seen, first_tile, invocation);
    }
    atomicMax(&peaks[Q_PEAK], bitcast<u32>(q_largest));
    atomicMax(&peaks[K_PEAK], bitcast<u32>(k_largest));
    atomicMax(&peaks[V_PEAK], bitcast<u32>(v_largest));
    workgroupBarrier();
    scale = Scales(scale_for(peak_of(Q_PEAK)), scale_for(peak_of(K_PEAK)), scale_for(peak_of(V_PEAK)));
  }

  @registers var q_blocks: array<array<Left, HEAD_STEPS>, ROW_BLOCKS>;
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
  }
  @unroll for (var i = 0u; i < K_LOADS; i++) { _ = put_key(i * WG_SIZE + invocation, first_keys[i], scale.k); }
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
      @unroll for (var i = 0u; i < K_LOADS; i++) { next_keys[i] = load_key(job, seen, next, i * WG_SIZE + invocation); }
      @unroll for (var i = 0u; i < V_LOADS; i++) { values[i] = load_value(job, seen, tile, i * WG_SIZE + invocation); }
    }
    if (invocation == 0u) { has_moved[(tile + 1u) % 2u] = 0u; }
    @if(HIDES) if (invocation == 0u) { has_moved[2u + (tile + 1u) % 2u] = 0u; }

    let has_hidden = !has_all_of(rows.by_all, i32(first_key), i32(first_key + TILE_KEYS) - 1);
    @registers var low: array<vec4f, LANE_OCTETS>;    // the lane's octets: scores, then weights
    @registers var high: array<vec4f, LANE_OCTETS>;
    var largest = MASKED;
    @unroll for (var i = 0u; i < LANE_OCTETS; i++) {
      let octet = i * ROW_LANES + row_lane;
      let at = tile_row * S_LINE + octet * 2u;
      low[i] = scores[at];
      high[i] = scores[at + 1u];
      @if(SCALED) low[i] = low[i] / scale.q / scale.k;
      @if(SCALED) high[i] = high[i] / scale.q / scale.k;
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
      largest = max(largest, max(largest_of(low[i]), largest_of(high[i])));
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
      put_weights(tile_row, i * ROW_LANES + row_lane, low[i], high[i]);
    }
    var rescale = exp2(previous - base);
    total = total * rescale + dot(sum, vec4f(1));

    var k_largest = 0.0;
    var v_largest = 0.0;
    @if(AHEAD) {
      @unroll for (var i = 0u; i < K_LOADS; i++) {
        k_largest = max(k_largest, put_key(i * WG_SIZE + invocation, next_keys[i], scale.k));
      }
      @unroll for (var i = 0u; i < V_LOADS; i++) {
        v_largest = max(v_largest, put_value(i * WG_SIZE + invocation, values[i], scale.v));
      }
    }
    @if(!AHEAD) {
      k_largest = stage_keys(job, seen, next, scale.k, invocation);
      v_largest = stage_values(job, seen, tile, scale.v, invocation);
    }
    @if(SCALED && !HIDES) {
      if (k_largest > ROOM / scale.k || v_largest > ROOM / scale.v) {
        atomicMax(&peaks[K_PEAK], bitcast<u32>(k_largest));
        atomicMax(&peaks[V_PEAK], bitcast<u32>(v_largest));
        has_moved[tile % 2u] = 1u;
      }
    }
    @if(SCALED && HIDES)  let is_beyond = k_largest > ROOM / scale.k || v_largest > ROOM / scale.v;
    @if(!SCALED && HIDES) let is_beyond = v_largest > LARGEST;
    @if(HIDES) if (is_beyond) { has_moved[2u + tile % 2u] = 1u; }
    @if(!HIDES) let must_rescale = workgroupUniformLoad(&has_moved[tile % 2u]) != 0u;  // B
    @if(HIDES) let moved = workgroupUniformLoad(&has_moved);  // B
    @if(HIDES) let any_is_beyond = select(moved[2], moved[3], tile % 2u == 1u) != 0u;
    @if(SCALED && HIDES)  let must_rescale = any_is_beyond || select(moved[0], moved[1], tile % 2u == 1u) != 0u;
    @if(!SCALED && HIDES) let must_rescale = select(moved[0], moved[1], tile % 2u == 1u) != 0u;
    @if(!SCALED && HIDES) {
      if (any_is_beyond) {
        mark_values(job, invocation);
        workgroupBarrier();
        clear_values(invocation);
        workgroupBarrier();
      }
    }

    // 3 rescale o
    if (must_rescale) {
      @if(SCALED && HIDES) {
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
      @if(SCALED) {
        let previous_scale = scale.v;
        scale.k = scale_for(peak_of(K_PEAK));
        scale.v = scale_for(peak_of(V_PEAK));
        rescale *= scale.v / previous_scale;
        _ = stage_keys(job, seen, next, scale.k, invocation);
        _ = stage_values(job, seen, tile, scale.v, invocation);
        @if(HIDES) clear_values(invocation);
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
    @if(PAGED) find_offsets(sequence, seen, tile_after, invocation);

    // 4 values
    if (multiplies) {
      @unroll for (var step = 0u; step < KEY_STEPS; step++) {
        @registers var p: array<Left, ROW_BLOCKS>;
        @unroll for (var r = 0u; r < ROW_BLOCKS; r++) {
          p[r] = subgroupMatrixLoad<Left, row_major>(&weights, (first_strip_row + r * M) * P_LINE + step * K / WORD, P_LINE);
        }
        @unroll for (var block = 0u; block < OUT_BLOCKS; block++) {
          let dims = subgroupMatrixLoad<Right, row_major>(
            &tiles, VALUES + step * K * V_LINE + (part * OUT_BLOCKS + block) * N / WORD, V_LINE,
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
  @if(SCALED) out_scale /= scale.v;
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
      @if(OUT_OCTETS) for (var quad = row_lane * 2u; quad < O_QUADS; quad += ROW_LANES * 2) {
        let at = tile_row * S_LINE + quad;
        write_halves(out_at, dim_of(quad, block), params.head_dim_v, scores[at] * out_scale, scores[at + 1u] * out_scale);
      }
      @if(!OUT_OCTETS) for (var quad = row_lane; quad < O_QUADS; quad += ROW_LANES) {
        write_quad(out_at, dim_of(quad, block), params.head_dim_v, scores[tile_row * S_LINE + quad] * out_scale);
      }
    }
  }
}

// The first dim of a quad of scores that has some of the output's, of block `block` of each part.
fn dim_of(quad: u32, block: u32) -> u32 {
  return (quad / (N / 4) * OUT_BLOCKS + block) * N + quad % (N / 4) * 4u;
}

// Loads and puts octets of the tiles: number `index` of the whole tile, key by key. Beyond its end there are none, and dims
// beyond the head are zeros.

fn load_key(job: Job, seen: Band, tile: u32, index: u32) -> Loaded {
  let tile_key = index / K_OCTETS;
  let dim = index % K_OCTETS * 8u;
  if (K_LOADS * WG_SIZE > TILE_KEYS * K_OCTETS && tile_key >= TILE_KEYS) { return Loaded(); }
  var is_there = true;
  @if(PADDED) is_there = dim < params.head_dim;
  // A key without a page is some other one, whose score is masked. It must not set a peak.
  @if(PAGED && SCALED) is_there &= has_page(v_offset(job.sequence, seen, tile, tile_key));
  let at = k_offset(job.sequence, seen, tile, tile_key) + job.kv_head * params.k_head + dim;
  // Loading what is not used costs less than a branch.
  @if(RAW) return select(vec4u(), k[at / 8u], is_there);
  @if(!RAW) {
    if (!is_there) { return Loaded(); }
    @if(!KV_QUANTISED) return k_octet(at, params.head_dim - dim);
    @if(KV_SCALES) return scaled_octet(
      k_octet(at, params.head_dim - dim), key_scale(job.sequence, job.kv_head, seen, tile, tile_key, dim),
    );
    @if(KV_E4M3) return scaled_octet(k_octet(at, params.head_dim - dim), E4M3_UNIT);
  }
}

// In place of a value that no row of the tile sees there is the nearest one that is seen: others may be NaN, and 0 · NaN is
// NaN. Those without a page are zeros.
fn load_value(job: Job, seen: Band, tile: u32, index: u32) -> Loaded {
  let tile_key = index / V_OCTETS;
  let dim = index % V_OCTETS * 8u;
  if (V_LOADS * WG_SIZE > TILE_KEYS * V_OCTETS && tile_key >= TILE_KEYS) { return Loaded(); }
  let row = v_offset(job.sequence, seen, tile, tile_key);
  var is_there = true;
  @if(PADDED) is_there = dim < params.head_dim_v;
  @if(PAGED)  is_there &= has_page(row);
  let at = row + job.kv_head * params.v_head + dim;
  @if(RAW) return select(vec4u(), v[at / 8u], is_there);
  @if(!RAW) {
    if (!is_there) { return Loaded(); }
    @if(!KV_QUANTISED) return v_octet(at, params.head_dim_v - dim);
    @if(KV_SCALES) return scaled_octet(
      v_octet(at, params.head_dim_v - dim), value_scale(job.sequence, job.kv_head, seen, tile, tile_key, dim),
    );
    @if(KV_E4M3) return scaled_octet(v_octet(at, params.head_dim_v - dim), E4M3_UNIT);
  }
}

// Returns the largest magnitude of what was put, with SCALED or HIDES.
fn put_key(index: u32, loaded: Loaded, scale: f32) -> f32 {
  let tile_key = index / K_OCTETS;
  if (K_LOADS * WG_SIZE > TILE_KEYS * K_OCTETS && tile_key >= TILE_KEYS) { return 0.0; }
  let at = tile_key * K_LINE + index % K_OCTETS * (8 / WORD);
  @if(COPIED) {
    tiles[at] = loaded;
    return 0.0;
  }
  @if(!COPIED) {
    let octet = octet_of(loaded);
    let words = words_of(octet, scale);
    tiles[at] = words.low;
    @if(!F16_TILES) tiles[at + 1u] = words.high;
    return magnitude_of(octet);
  }
}

fn put_value(index: u32, loaded: Loaded, scale: f32) -> f32 {
  let tile_key = index / V_OCTETS;
  if (V_LOADS * WG_SIZE > TILE_KEYS * V_OCTETS && tile_key >= TILE_KEYS) { return 0.0; }
  let at = VALUES + tile_key * V_LINE + index % V_OCTETS * (8 / WORD);
  @if(COPIED) {
    tiles[at] = loaded;
    @if(HIDES)  return select(0.0, BEYOND, any_not_finite(loaded));
    @if(!HIDES) return 0.0;
  }
  @if(!COPIED) {
    let octet = octet_of(loaded);
    let words = words_of(octet, scale);
    tiles[at] = words.low;
    @if(!F16_TILES) tiles[at + 1u] = words.high;
    return magnitude_of(octet);
  }
}

// Loads a whole tile and puts it at once.
fn stage_keys(job: Job, seen: Band, tile: u32, scale: f32, invocation: u32) -> f32 {
  var largest = 0.0;
  for (var index = invocation; index < TILE_KEYS * K_OCTETS; index += WG_SIZE) {
    largest = max(largest, put_key(index, load_key(job, seen, tile, index), scale));
  }
  return largest;
}

fn stage_values(job: Job, seen: Band, tile: u32, scale: f32, invocation: u32) -> f32 {
  var largest = 0.0;
  for (var index = invocation; index < TILE_KEYS * V_OCTETS; index += WG_SIZE) {
    largest = max(largest, put_value(index, load_value(job, seen, tile, index), scale));
  }
  return largest;
}

// With HIDES: which keys and values of a tile count. It is marked in the last word of their lines, which belongs to no dim.

// Values that any row gives weight.
@if(HIDES) fn mark_values(job: Job, invocation: u32) {
  let n_rows = min(job.n_rows - job.first_row, TILE_ROWS);
  for (var tile_key = invocation; tile_key < TILE_KEYS; tile_key += WG_SIZE) {
    var bits = 0u;
    for (var tile_row = 0u; tile_row < n_rows; tile_row++) {
      let word = weights[tile_row * P_LINE + tile_key / WORD];
      @if(F16_TILES)  bits |= (word[tile_key % WORD / 2u] >> (tile_key % 2u * 16u)) & 0xffffu;
      @if(!F16_TILES) bits |= word[tile_key % WORD];
    }
    tiles[VALUES + (tile_key + 1u) * V_LINE - 1u] = vec4u(bits);
  }
}

@if(HIDES) fn counts_value(tile_key: u32) -> bool {
  return tiles[VALUES + (tile_key + 1u) * V_LINE - 1u].x != 0u;
}

// Puts zeros in place of the others. What an invocation clears it has put itself.
@if(HIDES) fn clear_values(invocation: u32) {
  for (var index = invocation; index < TILE_KEYS * V_OCTETS; index += WG_SIZE) {
    if (!counts_value(index / V_OCTETS)) { _ = put_value(index, Loaded(), 1.0); }
  }
}

@if(SCALED && HIDES) fn peak_of_values(job: Job, seen: Band, tile: u32, invocation: u32) -> f32 {
  var peak = 0.0;
  for (var index = invocation; index < TILE_KEYS * V_OCTETS; index += WG_SIZE) {
    if (counts_value(index / V_OCTETS)) { peak = max(peak, peak_of_octet(octet_of(load_value(job, seen, tile, index)))); }
  }
  return peak;
}

// Keys that masks let any row see: first noted where scores of the row belong, then marked. Since there are no scores yet, what
// score_mod will hide counts.
@if(SCALED && HIDES) fn note_seen_keys(mask: RowMask, k_len: u32, first_key: u32, tile: u32, tile_row: u32, row_lane: u32) {
  for (var i = 0u; i < LANE_OCTETS * 2; i++) {
    let quad = (i / 2u * ROW_LANES + row_lane) * 2u + i % 2u;
    let key = vec4i(i32(first_key + quad * 4u)) + vec4i(0, 1, 2, 3);
    var is_seen = sees(mask, key);
    @if(PAGED) is_seen &= have_pages(tile, quad);
    @if(MASK) is_seen &= are_set(mask_bits(mask.mask_row, first_key + quad * 4u, k_len));
    @if(BIAS) is_seen &= bias_of(mask.bias_row, first_key + quad * 4u, k_len) != vec4f(MASKED);
    @if(MASK_MOD) is_seen &= lets_see_by_mod(mask, key);
    scores[tile_row * S_LINE + quad] = select(vec4f(), vec4f(1), is_seen);
  }
}

@if(SCALED && HIDES) fn mark_keys(job: Job, invocation: u32) {
  let n_rows = min(job.n_rows - job.first_row, TILE_ROWS);
  for (var tile_key = invocation; tile_key < TILE_KEYS; tile_key += WG_SIZE) {
    var n_seeing = 0.0;
    for (var tile_row = 0u; tile_row < n_rows; tile_row++) {
      n_seeing += scores[tile_row * S_LINE + tile_key / 4u][tile_key % 4u];
    }
    tiles[(tile_key + 1u) * K_LINE - 1u] = vec4u(u32(n_seeing));
  }
}

@if(SCALED && HIDES) fn peak_of_keys(job: Job, seen: Band, tile: u32, invocation: u32) -> f32 {
  var peak = 0.0;
  for (var index = invocation; index < TILE_KEYS * K_OCTETS; index += WG_SIZE) {
    if (tiles[(index / K_OCTETS + 1u) * K_LINE - 1u].x != 0u) {
      peak = max(peak, peak_of_octet(octet_of(load_key(job, seen, tile, index))));
    }
  }
  return peak;
}

fn octet_of(loaded: Loaded) -> Octet {
  @if(RAW)  return Octet(quad_from_kv(loaded.xy), quad_from_kv(loaded.zw));
  @if(!RAW) return loaded;
}

// Loads and puts octets of the queries, number `index` of those that go through the tiles in one turn. Rows past the end are
// the last one again: their results are never stored.

fn load_query(job: Job, first: u32, index: u32) -> LoadedQuery {
  let row = min(job.first_row + first + index / K_OCTETS, job.n_rows - 1u);
  let dim = index % K_OCTETS * 8u;
  var is_there = true;
  @if(PADDED) is_there = dim < params.head_dim;
  let at = job.sequence.q_base + token_of(row) * params.q_token + head_of(job, row) * params.q_head + dim;
  @if(Q_RAW) return select(vec4u(), q[at / 8u], is_there);
  @if(!Q_RAW) {
    if (!is_there) { return LoadedQuery(); }
    return q_octet(at, params.head_dim - dim);
  }
}

fn octet_of_query(loaded: LoadedQuery) -> Octet {
  @if(Q_RAW)  return Octet(quad_from_q(loaded.xy), quad_from_q(loaded.zw));
  @if(!Q_RAW) return loaded;
}

fn put_query(index: u32, loaded: LoadedQuery, scale: f32) {
  let line = index / K_OCTETS;
  if (Q_LOADS * WG_SIZE > Q_LINES * K_OCTETS && line >= Q_LINES) { return; }
  let at = line * K_LINE + index % K_OCTETS * (8 / WORD);
  @if(Q_COPIED) tiles[at] = loaded;
  @if(!Q_COPIED) {
    let words = words_of(octet_of_query(loaded), scale);
    tiles[at] = words.low;
    @if(!F16_TILES) tiles[at + 1u] = words.high;
  }
}

// Eight elements of a tile: the first word of them, and in tiles of f32 the second.
struct Words {
  low: vec4u,
  @if(!F16_TILES) high: vec4u,
}

fn words_of(octet: Octet, scale: f32) -> Words {
  @if(SCALED)  let scaled = Octet(octet.low * scale, octet.high * scale);
  @if(!SCALED) let scaled = octet;
  @if(F16_TILES)  return Words(halves_of(scaled.low, scaled.high));
  @if(!F16_TILES) return Words(bitcast<vec4u>(scaled.low), bitcast<vec4u>(scaled.high));
}

@if(F16_TILES) fn halves_of(low: vec4f, high: vec4f) -> vec4u {
  return vec4u(bitcast<vec2u>(vec4<f16>(low)), bitcast<vec2u>(vec4<f16>(high)));
}

fn put_weights(tile_row: u32, octet: u32, low: vec4f, high: vec4f) {
  let at = tile_row * P_LINE + octet * (8 / WORD);
  @if(F16_TILES)  weights[at] = halves_of(low, high);
  @if(!F16_TILES) weights[at] = bitcast<vec4u>(low);
  @if(!F16_TILES) weights[at + 1u] = bitcast<vec4u>(high);
}

// By what queries, keys and values are multiplied on their way into tiles: powers of two, 1 without SCALED.
struct Scales {
  q: f32,
  k: f32,
  v: f32,
}

// The most that an element of a tile may be: a peak has 16 times its own size left.
@if(SCALED) const ROOM = 32768.0;
@if(SCALED) const Q_PEAK = 0u;
@if(SCALED) const K_PEAK = 1u;
@if(SCALED) const V_PEAK = 2u;

@if(SCALED) fn peak_of(which: u32) -> f32 {
  return bitcast<f32>(atomicLoad(&peaks[which]));
}

// The power of two that takes a peak to some 2^11, below which f16 has 35 binades. What is tiny throughout stays so.
@if(SCALED) fn scale_for(peak: f32) -> f32 {
  let exponent = max(bitcast<u32>(peak) >> 23u, 27u);
  return bitcast<f32>((265u - exponent) << 23u);
}

// With HIDES, that of what is not finite is the largest of all.
fn magnitude_of(octet: Octet) -> f32 {
  @if(HIDES)             return bitcast<f32>(min(largest_bits(octet), BEYOND_BITS));
  @if(SCALED && !HIDES)  return largest_of(max(abs(octet.low), abs(octet.high)));
  @if(!SCALED && !HIDES) return 0.0;
}

@if(HIDES) const BEYOND_BITS = 0x7f7fffffu;
@if(HIDES) const BEYOND = bitcast<f32>(BEYOND_BITS);
// The most that an element of a tile may be where nothing is scaled.
@if(HIDES && !SCALED && F16_TILES)  const LARGEST = 65504.0;
@if(HIDES && !SCALED && !F16_TILES) const LARGEST = 3.4e38;

// The largest magnitude of what is finite.
@if(SCALED && HIDES) fn peak_of_octet(octet: Octet) -> f32 {
  return max(peak_of_quad(octet.low), peak_of_quad(octet.high));
}

@if(SCALED && HIDES) fn peak_of_quad(x: vec4f) -> f32 {
  let bits = bitcast<vec4u>(x) & vec4u(0x7fffffff);
  return largest_of(bitcast<vec4f>(select(vec4u(), bits, bits < vec4u(0x7f800000))));
}

// Whether any of eight halves is infinite or NaN: one more carries out of an exponent of ones.
@if(COPIED && HIDES) fn any_not_finite(halves: vec4u) -> bool {
  return any((((halves & vec4u(0x7c007c00)) + vec4u(0x04000400)) & vec4u(0x80008000)) != vec4u());
}
