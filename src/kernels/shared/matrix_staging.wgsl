// matrix_staging: puts loaded octets of queries, keys and values (matrix_loads) into the tiles of attn_matrix, each times a
// power of two (matrix_peaks), which is 1 without SCALED.
//
// Variants:
//   those of matrix_tiles, matrix_loads and matrix_peaks
//   Q_COPIED    queries go into the tiles unchanged: Q_RAW, F16_TILES, Q_F16
//   COPIED      and so do keys and values: RAW, F16_TILES, KV_F16
//   PAIRED      see matrix_codes

import package::shared::attention::Job;
import package::shared::band::Band;
import package::shared::matrix_codes::{halves_of_bytes, paired};
import package::shared::matrix_loads::{
  Loaded, LoadedQuery, load_key, load_value, octet_of, octet_of_query, scale_of_codes,
};
import package::shared::matrix_peaks::{BEYOND, magnitude_of, magnitude_of_loaded};
import package::shared::matrix_tiles::{
  tiles, WORD, VALUES, K_OCTETS, V_OCTETS, K_LINE, V_LINE, words_of, leading_of, rest_of,
};
import package::shared::octets::Octet;
import constants::{WG_SIZE, TILE_KEYS, Q_LINES, Q_LOADS, K_LOADS, V_LOADS};

// Puts octet number `index` of the queries that go through the tiles in one turn.
fn put_query(index: u32, loaded: LoadedQuery, scale: f32) {
  let line = index / K_OCTETS;
  if (Q_LOADS * WG_SIZE > Q_LINES * K_OCTETS && line >= Q_LINES) { return; }
  let at = line * K_LINE + index % K_OCTETS * (8 / WORD);
  @if(Q_COPIED) tiles[at] = loaded;
  @if(!Q_COPIED) {
    let octet = octet_of_query(loaded);
    let scaled = Octet(paired(octet.low * scale), paired(octet.high * scale));
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
  let scaled = Octet(paired(octet.low * scale), paired(octet.high * scale));
  tiles[line * K_LINE + index % K_OCTETS] = words_of(rest_of(scaled)).low;
}

// Puts octet number `index` of the keys of a tile. Like `put_value` it returns the largest magnitude of what was put: of keys
// with KV_SCALED, of values with that or CHECKS_VALUES.
fn put_key(index: u32, loaded: Loaded, scale: f32) -> f32 {
  let tile_key = index / K_OCTETS;
  if (K_LOADS * WG_SIZE > TILE_KEYS * K_OCTETS && tile_key >= TILE_KEYS) { return 0.0; }
  let at = min(tile_key, TILE_KEYS - 1u) * K_LINE + index % K_OCTETS * (8 / WORD);
  @if(COPIED) {
    tiles[at] = loaded;
    return 0.0;
  }
  @if(PAIRED) {
    tiles[at] = halves_of_bytes(loaded);
    return 0.0;
  }
  @if(!COPIED && !PAIRED) {
    let octet = octet_of(loaded, scale_of_codes(loaded) * scale);
    @if(K_SPLIT)  let words = words_of(leading_of(octet));
    @if(!K_SPLIT) let words = words_of(octet);
    tiles[at] = words.low;
    @if(K_SPLIT) tiles[at + K_OCTETS] = words_of(rest_of(octet)).low;
    @if(!F16_TILES) tiles[at + 1u] = words.high;
    @if(KV_SCALED)  return magnitude_of_loaded(loaded);
    @if(!KV_SCALED) return 0.0;
  }
}

fn put_value(index: u32, loaded: Loaded, scale: f32) -> f32 {
  let tile_key = index / V_OCTETS;
  if (V_LOADS * WG_SIZE > TILE_KEYS * V_OCTETS && tile_key >= TILE_KEYS) { return 0.0; }
  let at = VALUES + min(tile_key, TILE_KEYS - 1u) * V_LINE + index % V_OCTETS * (8 / WORD);
  @if(COPIED) {
    tiles[at] = loaded;
    @if(CHECKS_VALUES)  return select(0.0, BEYOND, any_not_finite(loaded));
    @if(!CHECKS_VALUES) return 0.0;
  }
  @if(PAIRED) {
    let halves = halves_of_bytes(loaded);
    tiles[at] = halves;
    @if(CHECKS_VALUES)  return select(0.0, BEYOND, any_not_finite(halves));
    @if(!CHECKS_VALUES) return 0.0;
  }
  @if(!COPIED && !PAIRED) {
    let octet = octet_of(loaded, scale_of_codes(loaded) * scale);
    let words = words_of(octet);
    tiles[at] = words.low;
    @if(!F16_TILES) tiles[at + 1u] = words.high;
    @if(KV_SCALED)                    return magnitude_of_loaded(loaded);
    @if(!KV_SCALED && CHECKS_VALUES)  return magnitude_of(octet);
    @if(!KV_SCALED && !CHECKS_VALUES) return 0.0;
  }
}

// Whether any of eight halves is infinite or NaN: one more carries out of an exponent of ones.
@if((COPIED || PAIRED) && CHECKS_VALUES) fn any_not_finite(halves: vec4u) -> bool {
  return any((((halves & vec4u(0x7c007c00)) + vec4u(0x04000400)) & vec4u(0x80008000)) != vec4u());
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
