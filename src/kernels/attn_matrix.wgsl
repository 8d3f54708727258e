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
// bf16, turned queries in f32 and codes times scales have the range of f32, tiles of f16 do not: with SCALED such an operand
// is multiplied by a power of two, one for all that the workgroup has seen of it, which follows its peak. What is below 2^-35
// of the peak is lost. All but bf16 is rounded to f16 then; with Q_SPLIT and K_SPLIT what queries and keys lose by that is
// multiplied as well.
//
// With HIDES a tile may have keys that no row sees, which may hold anything. Values are looked at while they are put: where one
// is too large for its tile, or NaN, those of keys without weight become zeros. Neither they nor keys that masks hide set a peak.
//
// Variants:
//   those of octets, key_offsets, dense_masks, out_rows and attention
//   F16_TILES   operands are f16; else f32. Sums are f32 in any case
//   SCALED      operands of f16 tiles are scaled: with Q_SCALED, K_SCALED and V_SCALED those of q, k and v
//   Q_SPLIT     queries are two matrices, of what f16 holds of them and of the rest; Q_SCALED
//   K_SPLIT     and so are keys, side by side; K_SCALED
//   Q_RAW       queries wait in registers as they are stored: Q_WIDE and Q_HALVES
//   Q_COPIED    and go into tiles unchanged: Q_RAW, F16_TILES, Q_F16
//   RAW         keys and values wait in registers as they are stored: KV_WIDE and KV_HALVES
//   COPIED      and go into the tiles unchanged: RAW, F16_TILES, KV_F16
//   PADDED      a head is smaller than its place in tiles, and zeros follow
//   AHEAD       the next keys and these values are loaded while rows are weighed
//   PINNED      subgroups have SUBGROUP lanes, as the entry point demands
//   VARYING     subgroups may be smaller than SUBGROUP: those beyond WAVES do not multiply
//
// Of a quantised cache (see octets) codes wait in registers, and become elements on their way into the tiles. f16 holds e4m3
// and the codes of i8 as they are: scores and outputs are multiplied by the scales of heads (KV_E4M3), scores by those of
// keys (KV_I8). All others are multiplied by their scales before they are put.

import package::shared::attention::{
  params, Job, item_index, job_of, token_of, head_of, rows_seen, mask_of, scores_of, sees, largest_of, tiles_of,
  Sums, with_sink, out_scale_of, out_row, write_lse_of,
};
@if(K_SCALED && HIDES) import package::shared::attention::RowMask;
@if(SCORE_MOD) import package::shared::attention::modified;
@if(MASK_MOD) import package::shared::attention::lets_see_by_mod;
import package::shared::band::{Band, has_all_of};
@if(MASK) import package::shared::dense_masks::{mask_bits, are_set};
@if(BIAS) import package::shared::dense_masks::{bias_of, biased};
import package::shared::key_offsets::{find_offsets, first_key_of, k_offset, v_offset, has_page, have_pages};
@if(KV_I8) import package::shared::key_offsets::slot_of;
@if(KV_I8 && PAGED) import package::shared::key_offsets::keep_offsets;
@if(KV_I8) import package::shared::kv_scales::{k_scale_of, v_scale_of};
@if(KV_I4) import package::shared::kv_scales::{key_scale, value_scale};
@if(KV_E4M3) import package::shared::kv_scales::{k_head_scale, v_head_scale};
@if(KV_E4M3) import package::shared::elements::E4M3_UNIT;
import package::shared::lanes::MANY;
import package::shared::octets::{Octet, q_octet, k_octet, v_octet, q, k, v};
@if(KV_QUANTISED) import package::shared::octets::{Codes, k_codes, v_codes, octet_of_codes};
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
@if(K_SPLIT)  const K_LINE = 2 * K_OCTETS + 1;
@if(!K_SPLIT) const K_LINE = K_OCTETS * 8 / WORD + 1;
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
@if(RAW)                    alias Loaded = vec4u;
@if(!RAW && !KV_QUANTISED)  alias Loaded = Octet;
@if(KV_QUANTISED && !KV_I4) alias Loaded = Codes;
@if(KV_I4)                  alias Loaded = ScaledCodes;

// Codes with the scale of their group.
@if(KV_I4) struct ScaledCodes {
  codes: Codes,
  scale: f32,
}

var<workgroup> tiles: array<vec4u, VALUES + TILE_KEYS * V_LINE>;   // keys [key][dim], then values [key][dim]; before them, queries
var<workgroup> scores: array<vec4f, TILE_ROWS * S_LINE>;       // [row][key]; then o [row][part][dim of a block]
var<workgroup> weights: array<vec4u, TILE_ROWS * P_LINE>;      // [row][key]
var<workgroup> has_moved: array<u32, 4>;                       // whether a base or a scale has, in even and odd tiles;
                                                               // with HIDES, whether a peak or a value is beyond its tile
@if(SCALED) var<workgroup> peaks: array<atomic<u32>, 4>;       // bits of the largest magnitude of q, k and v so far
@if(KV_I8) var<workgroup> k_scales: array<f32, 2 * TILE_KEYS>; // of even and odd tiles
@if(KV_I8) var<workgroup> v_scales: array<f32, 2 * TILE_KEYS>;

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
  find_keys(job, seen, first_tile, invocation);
  @if(!KEYS_ONCE) find_keys(job, seen, second_tile, invocation);
  @if(PAGED || SCALED || KV_I8) workgroupBarrier();
  // Where there is no tile, some key that is never used.
  @registers var first_keys: array<Loaded, K_LOADS>;
  @unroll for (var i = 0u; i < K_LOADS; i++) { first_keys[i] = load_key(job, seen, first_tile, i * WG_SIZE + invocation); }
  var scale = Scales(1.0, 1.0, 1.0);
  @if(SCALED) {
    var q_largest = 0.0;
    var k_largest = 0.0;
    var v_largest = 0.0;
    // With HIDES, values wait for their weights.
    @if(V_SCALED && !HIDES) @unroll for (var i = 0u; i < V_LOADS; i++) {
      let index = i * WG_SIZE + invocation;
      v_largest = max(v_largest, magnitude_of_value(load_value(job, seen, first_tile, index), first_tile, index));
    }
    @if(Q_SCALED) @unroll for (var turn = 0u; turn < Q_TURNS; turn++) {
      @if(!HIDES) @unroll for (var i = 0u; i < Q_LOADS; i++) { q_largest = max(q_largest, magnitude_of(octet_of_query(queries[turn][i]))); }
      @if(HIDES) @unroll for (var i = 0u; i < Q_LOADS; i++) { q_largest = max(q_largest, peak_of_octet(octet_of_query(queries[turn][i]))); }
    }
    @if(K_SCALED && !HIDES) @unroll for (var i = 0u; i < K_LOADS; i++) { k_largest = max(k_largest, magnitude_of_key(first_keys[i])); }
    @if(K_SCALED && HIDES) {
      note_seen_keys(mask, sequence.k_len, first_key_of(seen, first_tile), first_tile, tile_row, row_lane);
      workgroupBarrier();
      mark_keys(job, invocation);
      workgroupBarrier();
      k_largest = peak_of_keys(job, seen, first_tile, invocation);
    }
    @if(Q_SCALED) atomicMax(&peaks[Q_PEAK], bitcast<u32>(q_largest));
    @if(K_SCALED) atomicMax(&peaks[K_PEAK], bitcast<u32>(k_largest));
    @if(V_SCALED) atomicMax(&peaks[V_PEAK], bitcast<u32>(v_largest));
    workgroupBarrier();
    @if(Q_SCALED) scale.q = scale_for(peak_of(Q_PEAK));
    @if(K_SCALED) scale.k = scale_for(peak_of(K_PEAK));
    @if(V_SCALED) scale.v = scale_for(peak_of(V_PEAK));
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
  @if(KEYS_ONCE) find_keys(job, seen, second_tile, invocation);
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
      @if(Q_SCALED) low[i] /= scale.q;
      @if(Q_SCALED) high[i] /= scale.q;
      @if(K_SCALED) low[i] /= scale.k;
      @if(K_SCALED) high[i] /= scale.k;
      @if(KV_I8) low[i] *= k_scales_of(tile, octet * 8u);
      @if(KV_I8) high[i] *= k_scales_of(tile, octet * 8u + 4u);
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
        v_largest = max(v_largest, put_value(tile, i * WG_SIZE + invocation, values[i], scale.v));
      }
    }
    @if(!AHEAD) {
      k_largest = stage_keys(job, seen, next, scale.k, invocation);
      v_largest = stage_values(job, seen, tile, scale.v, invocation);
    }
    @if(V_SCALED && !HIDES) {
      if (k_largest > ROOM / scale.k || v_largest > ROOM / scale.v) {
        @if(K_SCALED) atomicMax(&peaks[K_PEAK], bitcast<u32>(k_largest));
        @if(V_SCALED) atomicMax(&peaks[V_PEAK], bitcast<u32>(v_largest));
        has_moved[tile % 2u] = 1u;
      }
    }
    @if(V_SCALED && HIDES)  let is_beyond = k_largest > ROOM / scale.k || v_largest > ROOM / scale.v;
    @if(!V_SCALED && HIDES) let is_beyond = v_largest > LARGEST;
    @if(HIDES) if (is_beyond) { has_moved[2u + tile % 2u] = 1u; }
    @if(!HIDES) let must_rescale = workgroupUniformLoad(&has_moved[tile % 2u]) != 0u;  // B
    @if(HIDES) let moved = workgroupUniformLoad(&has_moved);  // B
    @if(HIDES) let any_is_beyond = select(moved[2], moved[3], tile % 2u == 1u) != 0u;
    @if(V_SCALED && HIDES)  let must_rescale = any_is_beyond || select(moved[0], moved[1], tile % 2u == 1u) != 0u;
    @if(!V_SCALED && HIDES) let must_rescale = select(moved[0], moved[1], tile % 2u == 1u) != 0u;
    @if(!V_SCALED && HIDES) {
      if (any_is_beyond) {
        mark_values(job, invocation);
        workgroupBarrier();
        clear_values(invocation);
        workgroupBarrier();
      }
    }

    // 3 rescale o
    if (must_rescale) {
      @if(V_SCALED && HIDES) {
        mark_values(job, invocation);
        if (any_is_beyond) {
          @if(K_SCALED) note_seen_keys(mask, sequence.k_len, first_key_of(seen, next), next, tile_row, row_lane);
          workgroupBarrier();
          @if(K_SCALED) {
            mark_keys(job, invocation);
            workgroupBarrier();
            atomicMax(&peaks[K_PEAK], bitcast<u32>(peak_of_keys(job, seen, next, invocation)));
          }
          atomicMax(&peaks[V_PEAK], bitcast<u32>(peak_of_values(job, seen, tile, invocation)));
        }
        workgroupBarrier();
      }
      @if(K_SCALED) {
        scale.k = scale_for(peak_of(K_PEAK));
        _ = stage_keys(job, seen, next, scale.k, invocation);
      }
      @if(V_SCALED) {
        let previous_scale = scale.v;
        scale.v = scale_for(peak_of(V_PEAK));
        rescale *= scale.v / previous_scale;
        _ = stage_values(job, seen, tile, scale.v, invocation);
        @if(HIDES) clear_values(invocation);
      }
      @if(K_SCALED || V_SCALED) workgroupBarrier();
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
    find_keys(job, seen, tile_after, invocation);

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
  @if(V_SCALED) out_scale /= scale.v;
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

// Looks up where the keys of a tile lie, and with KV_I8 their scales. Between this and the use of the tile there is a barrier.
fn find_keys(job: Job, seen: Band, tile: u32, invocation: u32) {
  @if(PAGED && !KV_I8) find_offsets(job.sequence, seen, tile, invocation);
  @if(KV_I8) for (var step = 0u; step < (TILE_KEYS + WG_SIZE - 1) / WG_SIZE; step++) {
    let tile_key = step * WG_SIZE + invocation;
    if (tile_key < TILE_KEYS) {
      let slot = slot_of(job.sequence, seen, tile, tile_key);
      @if(PAGED) keep_offsets(job.sequence, tile, tile_key, slot);
      k_scales[tile % 2u * TILE_KEYS + tile_key] = k_scale_of(slot, job.kv_head, 0u);
      v_scales[tile % 2u * TILE_KEYS + tile_key] = v_scale_of(slot, job.kv_head, 0u);
    }
  }
}

// The scales of four neighbouring keys.
@if(KV_I8) fn k_scales_of(tile: u32, tile_key: u32) -> vec4f {
  let at = tile % 2u * TILE_KEYS + tile_key;
  return vec4f(k_scales[at], k_scales[at + 1u], k_scales[at + 2u], k_scales[at + 3u]);
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
  @if(PAGED && K_SCALED) is_there &= has_page(v_offset(job.sequence, seen, tile, tile_key));
  let at = k_offset(job.sequence, seen, tile, tile_key) + job.kv_head * params.k_head + dim;
  // Loading what is not used costs less than a branch.
  @if(RAW) return select(vec4u(), k[at / 8u], is_there);
  @if(!RAW) {
    if (!is_there) { return Loaded(); }
    @if(!KV_QUANTISED)           return k_octet(at, params.head_dim - dim);
    @if(KV_QUANTISED && !KV_I4)  return k_codes(at, params.head_dim - dim);
    @if(KV_I4) return ScaledCodes(
      k_codes(at, params.head_dim - dim), key_scale(job.sequence, job.kv_head, seen, tile, tile_key, dim),
    );
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
    @if(!KV_QUANTISED)           return v_octet(at, params.head_dim_v - dim);
    @if(KV_QUANTISED && !KV_I4)  return v_codes(at, params.head_dim_v - dim);
    @if(KV_I4) return ScaledCodes(
      v_codes(at, params.head_dim_v - dim), value_scale(job.sequence, job.kv_head, seen, tile, tile_key, dim),
    );
  }
}

// Returns the largest magnitude of what was put: of keys with K_SCALED, of values with V_SCALED or HIDES.
fn put_key(index: u32, loaded: Loaded, scale: f32) -> f32 {
  let tile_key = index / K_OCTETS;
  if (K_LOADS * WG_SIZE > TILE_KEYS * K_OCTETS && tile_key >= TILE_KEYS) { return 0.0; }
  let at = tile_key * K_LINE + index % K_OCTETS * (8 / WORD);
  @if(COPIED) {
    tiles[at] = loaded;
    return 0.0;
  }
  @if(!COPIED) {
    let octet = octet_of(loaded, scale_of_key(loaded) * scale);
    @if(K_SPLIT)  let words = words_of(leading_of(octet));
    @if(!K_SPLIT) let words = words_of(octet);
    tiles[at] = words.low;
    @if(K_SPLIT) tiles[at + K_OCTETS] = words_of(rest_of(octet)).low;
    @if(!F16_TILES) tiles[at + 1u] = words.high;
    @if(K_SCALED)  return magnitude_of_key(loaded);
    @if(!K_SCALED) return 0.0;
  }
}

fn put_value(tile: u32, index: u32, loaded: Loaded, scale: f32) -> f32 {
  let tile_key = index / V_OCTETS;
  if (V_LOADS * WG_SIZE > TILE_KEYS * V_OCTETS && tile_key >= TILE_KEYS) { return 0.0; }
  let at = VALUES + tile_key * V_LINE + index % V_OCTETS * (8 / WORD);
  @if(COPIED) {
    tiles[at] = loaded;
    @if(HIDES)  return select(0.0, BEYOND, any_not_finite(loaded));
    @if(!HIDES) return 0.0;
  }
  @if(!COPIED) {
    let octet = octet_of(loaded, scale_of_value(loaded, tile, index) * scale);
    let words = words_of(octet);
    tiles[at] = words.low;
    @if(!F16_TILES) tiles[at + 1u] = words.high;
    @if(V_SCALED)            return magnitude_of_value(loaded, tile, index);
    @if(!V_SCALED && HIDES)  return magnitude_of(octet);
    @if(!V_SCALED && !HIDES) return 0.0;
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
    largest = max(largest, put_value(tile, index, load_value(job, seen, tile, index), scale));
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
    if (counts_value(index / V_OCTETS)) { continue; }
    let at = VALUES + index / V_OCTETS * V_LINE + index % V_OCTETS * (8 / WORD);
    tiles[at] = vec4u();
    @if(!F16_TILES) tiles[at + 1u] = vec4u();
  }
}

@if(V_SCALED && HIDES) fn peak_of_values(job: Job, seen: Band, tile: u32, invocation: u32) -> f32 {
  var peak = 0.0;
  for (var index = invocation; index < TILE_KEYS * V_OCTETS; index += WG_SIZE) {
    if (!counts_value(index / V_OCTETS)) { continue; }
    let loaded = load_value(job, seen, tile, index);
    @if(KV_SCALES)  peak = max(peak, LARGEST_CODE * finite_of(vec4f(scale_of_value(loaded, tile, index))));
    @if(!KV_SCALES) peak = max(peak, peak_of_octet(octet_of(loaded, scale_of_value(loaded, tile, index))));
  }
  return peak;
}

// Keys that masks let any row see: first noted where scores of the row belong, then marked. Since there are no scores yet, what
// score_mod will hide counts.
@if(K_SCALED && HIDES) fn note_seen_keys(mask: RowMask, k_len: u32, first_key: u32, tile: u32, tile_row: u32, row_lane: u32) {
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

@if(K_SCALED && HIDES) fn mark_keys(job: Job, invocation: u32) {
  let n_rows = min(job.n_rows - job.first_row, TILE_ROWS);
  for (var tile_key = invocation; tile_key < TILE_KEYS; tile_key += WG_SIZE) {
    var n_seeing = 0.0;
    for (var tile_row = 0u; tile_row < n_rows; tile_row++) {
      n_seeing += scores[tile_row * S_LINE + tile_key / 4u][tile_key % 4u];
    }
    tiles[(tile_key + 1u) * K_LINE - 1u] = vec4u(u32(n_seeing));
  }
}

@if(K_SCALED && HIDES) fn peak_of_keys(job: Job, seen: Band, tile: u32, invocation: u32) -> f32 {
  var peak = 0.0;
  for (var index = invocation; index < TILE_KEYS * K_OCTETS; index += WG_SIZE) {
    if (tiles[(index / K_OCTETS + 1u) * K_LINE - 1u].x != 0u) {
      let loaded = load_key(job, seen, tile, index);
      @if(KV_SCALES)  peak = max(peak, LARGEST_CODE * finite_of(vec4f(scale_of_key(loaded))));
      @if(!KV_SCALES) peak = max(peak, peak_of_octet(octet_of(loaded, scale_of_key(loaded))));
    }
  }
  return peak;
}

// Elements or codes, times a factor.
fn octet_of(loaded: Loaded, factor: f32) -> Octet {
  @if(RAW)                    let octet = Octet(quad_from_kv(loaded.xy), quad_from_kv(loaded.zw));
  @if(!RAW && !KV_QUANTISED)  let octet = loaded;
  @if(KV_QUANTISED && !KV_I4) let octet = octet_of_codes(loaded);
  @if(KV_I4)                  let octet = octet_of_codes(loaded.codes);
  return Octet(octet.low * factor, octet.high * factor);
}

// What codes of keys are multiplied by on their way into the tiles, besides the scale of all.
fn scale_of_key(loaded: Loaded) -> f32 {
  @if(KV_I4)   return loaded.scale;
  @if(KV_E4M3) return E4M3_UNIT;
  @if(!KV_I4 && !KV_E4M3) return 1.0;
}

fn scale_of_value(loaded: Loaded, tile: u32, index: u32) -> f32 {
  @if(KV_I8)   return v_scales[tile % 2u * TILE_KEYS + index / V_OCTETS % TILE_KEYS];
  @if(KV_I4)   return loaded.scale;
  @if(KV_E4M3) return E4M3_UNIT;
  @if(!KV_SCALES && !KV_E4M3) return 1.0;
}

// No code is larger than this.
@if(KV_I8) const LARGEST_CODE = 128.0;
@if(KV_I4) const LARGEST_CODE = 8.0;

@if(K_SCALED) fn magnitude_of_key(loaded: Loaded) -> f32 {
  @if(KV_SCALES)  return magnitude_of_scale(scale_of_key(loaded));
  @if(!KV_SCALES) return magnitude_of(octet_of(loaded, scale_of_key(loaded)));
}

@if(V_SCALED) fn magnitude_of_value(loaded: Loaded, tile: u32, index: u32) -> f32 {
  @if(KV_SCALES)  return magnitude_of_scale(scale_of_value(loaded, tile, index));
  @if(!KV_SCALES) return magnitude_of(octet_of(loaded, scale_of_value(loaded, tile, index)));
}

// That of the largest code with a scale.
@if(KV_SCALES) fn magnitude_of_scale(scale: f32) -> f32 {
  @if(HIDES)  return bitcast<f32>(min(bitcast<u32>(LARGEST_CODE * scale) & 0x7fffffffu, BEYOND_BITS));
  @if(!HIDES) return LARGEST_CODE * abs(scale);
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
    let octet = octet_of_query(loaded);
    let scaled = Octet(octet.low * scale, octet.high * scale);
    @if(Q_SPLIT)  let words = words_of(leading_of(scaled));
    @if(!Q_SPLIT) let words = words_of(scaled);
    tiles[at] = words.low;
    @if(!F16_TILES) tiles[at + 1u] = words.high;
  }
}

// What f16 tiles have lost of queries.
@if(Q_SPLIT) fn put_rest(index: u32, loaded: LoadedQuery, scale: f32) {
  let line = index / K_OCTETS;
  if (Q_LOADS * WG_SIZE > Q_LINES * K_OCTETS && line >= Q_LINES) { return; }
  let octet = octet_of_query(loaded);
  let scaled = Octet(octet.low * scale, octet.high * scale);
  tiles[line * K_LINE + index % K_OCTETS] = words_of(rest_of(scaled)).low;
}

// What f16 holds of elements, whichever way a driver rounds; and the rest. Of these bits no compiler thinks that they are
// those of the elements, as of f16 that become f32 again.
@if(Q_SPLIT || K_SPLIT) fn leading_of(octet: Octet) -> Octet {
  return Octet(leading_bits(octet.low), leading_bits(octet.high));
}

@if(Q_SPLIT || K_SPLIT) fn rest_of(octet: Octet) -> Octet {
  return Octet(octet.low - leading_bits(octet.low), octet.high - leading_bits(octet.high));
}

@if(Q_SPLIT || K_SPLIT) fn leading_bits(numbers: vec4f) -> vec4f {
  return bitcast<vec4f>(bitcast<vec4u>(numbers) & vec4u(0xffffe000u));
}

// Eight elements of a tile: the first word of them, and in tiles of f32 the second.
struct Words {
  low: vec4u,
  @if(!F16_TILES) high: vec4u,
}

fn words_of(octet: Octet) -> Words {
  @if(F16_TILES)  return Words(halves_of(octet.low, octet.high));
  @if(!F16_TILES) return Words(bitcast<vec4u>(octet.low), bitcast<vec4u>(octet.high));
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
@if(SCALED || HIDES) fn magnitude_of(octet: Octet) -> f32 {
  @if(HIDES)  return bitcast<f32>(min(largest_bits(octet), BEYOND_BITS));
  @if(!HIDES) return largest_of(max(abs(octet.low), abs(octet.high)));
}

@if(HIDES) const BEYOND_BITS = 0x7f7fffffu;
@if(HIDES) const BEYOND = bitcast<f32>(BEYOND_BITS);
// The most that a value of a tile may be where none is scaled.
@if(HIDES && !V_SCALED && F16_TILES)  const LARGEST = 65504.0;
@if(HIDES && !V_SCALED && !F16_TILES) const LARGEST = 3.4e38;

// The largest magnitude of what is finite.
@if(SCALED && HIDES) fn peak_of_octet(octet: Octet) -> f32 {
  return max(finite_of(octet.low), finite_of(octet.high));
}

@if(SCALED && HIDES) fn finite_of(x: vec4f) -> f32 {
  let bits = bitcast<vec4u>(x) & vec4u(0x7fffffff);
  return largest_of(bitcast<vec4f>(select(vec4u(), bits, bits < vec4u(0x7f800000))));
}

// Whether any of eight halves is infinite or NaN: one more carries out of an exponent of ones.
@if(COPIED && HIDES) fn any_not_finite(halves: vec4u) -> bool {
  return any((((halves & vec4u(0x7c007c00)) + vec4u(0x04000400)) & vec4u(0x80008000)) != vec4u());
}
