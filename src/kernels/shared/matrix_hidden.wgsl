// matrix_hidden: which keys and values of a tile of attn_matrix count, where it may have keys that no row sees.
//
// These may hold anything. Values are looked at while they are put: where one is too large for its tile, or NaN, those of keys
// without weight become zeros. Neither they nor keys that masks hide set a peak.
//
// A key that counts, or its value, is marked in the last word of its line in the tiles, which belongs to no dim.
//
// Variants:
//   those of dense_masks, matrix_loads and matrix_peaks
//   HIDES       see attention
//   CHECKS_VALUES   values are looked at; with HIDES, but not of i8, whose codes are always numbers

import package::shared::attention::{Job, sees};
@if(KV_SCALED && HIDES) import package::shared::attention::RowMask;
@if(MASK_MOD) import package::shared::attention::lets_see_by_mod;
import package::shared::band::Band;
@if(MASK) import package::shared::dense_masks::{mask_bits, are_set};
@if(BIAS) import package::shared::dense_masks::bias_of;
import package::shared::key_offsets::have_pages;
import package::shared::matrix_loads::{load_key, load_value};
import package::shared::matrix_peaks::peak_of_loaded;
import package::shared::matrix_tiles::{
  tiles, scores, weights, TILE_ROWS, WORD, VALUES, K_OCTETS, V_OCTETS, K_LINE, V_LINE, P_LINE, S_LINE,
};
import package::shared::scores::MASKED;
import constants::{WG_SIZE, TILE_KEYS, LANE_OCTETS, ROW_LANES};

// Marks the values that any row gives weight.
@if(CHECKS_VALUES) fn mark_values(job: Job, invocation: u32) {
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

@if(CHECKS_VALUES) fn counts_value(tile_key: u32) -> bool {
  return tiles[VALUES + (tile_key + 1u) * V_LINE - 1u].x != 0u;
}

// Puts zeros in place of the others. What an invocation clears it has put itself.
@if(CHECKS_VALUES) fn clear_values(invocation: u32) {
  for (var index = invocation; index < TILE_KEYS * V_OCTETS; index += WG_SIZE) {
    if (counts_value(index / V_OCTETS)) { continue; }
    let at = VALUES + index / V_OCTETS * V_LINE + index % V_OCTETS * (8 / WORD);
    tiles[at] = vec4u();
    @if(!F16_TILES) tiles[at + 1u] = vec4u();
  }
}

@if(KV_SCALED && HIDES) fn peak_of_values(job: Job, seen: Band, tile: u32, invocation: u32) -> f32 {
  var peak = 0.0;
  for (var index = invocation; index < TILE_KEYS * V_OCTETS; index += WG_SIZE) {
    if (!counts_value(index / V_OCTETS)) { continue; }
    peak = max(peak, peak_of_loaded(load_value(job, seen, tile, index)));
  }
  return peak;
}

// Keys that masks let any row see: first noted where scores of the row belong, then marked. Since there are no scores yet, what
// score_mod will hide counts.
@if(KV_SCALED && HIDES) fn note_seen_keys(mask: RowMask, k_len: u32, first_key: u32, tile: u32, tile_row: u32, row_lane: u32) {
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

@if(KV_SCALED && HIDES) fn mark_keys(job: Job, invocation: u32) {
  let n_rows = min(job.n_rows - job.first_row, TILE_ROWS);
  for (var tile_key = invocation; tile_key < TILE_KEYS; tile_key += WG_SIZE) {
    var n_seeing = 0.0;
    for (var tile_row = 0u; tile_row < n_rows; tile_row++) {
      n_seeing += scores[tile_row * S_LINE + tile_key / 4u][tile_key % 4u];
    }
    tiles[(tile_key + 1u) * K_LINE - 1u] = vec4u(u32(n_seeing));
  }
}

@if(KV_SCALED && HIDES) fn peak_of_keys(job: Job, seen: Band, tile: u32, invocation: u32) -> f32 {
  var peak = 0.0;
  for (var index = invocation; index < TILE_KEYS * K_OCTETS; index += WG_SIZE) {
    if (tiles[(index / K_OCTETS + 1u) * K_LINE - 1u].x != 0u) {
      peak = max(peak, peak_of_loaded(load_key(job, seen, tile, index)));
    }
  }
  return peak;
}
