// key_rows: where the keys of a tile and their values begin. With PAGED the pages are looked up once for all dims of a
// tile, and a tile ahead: `find_rows` needs a barrier before its tile is asked for.

import package::attention::params;
import package::band::Band;
import package::sequences::Sequence;
import constants::{WG_SIZE, TILE_KEYS};

@group(0) @binding(6) var<storage, read> block_table: array<u32>;

@if(PAGED) var<workgroup> k_rows: array<u32, 2 * TILE_KEYS>;  // of this tile and the next
@if(PAGED) var<workgroup> v_rows: array<u32, 2 * TILE_KEYS>;

// Keys that no row sees have the rows of the nearest key that is seen. Page numbers that came over the GPU are clamped
// to the pool.
@if(PAGED) fn find_rows(sequence: Sequence, seen: Band, tile: u32, thread: u32) {
  for (var step = 0u; step < (TILE_KEYS + WG_SIZE - 1) / WG_SIZE; step++) {
    let tile_key = step * WG_SIZE + thread;
    if (tile_key < TILE_KEYS) {
      let key = key_at(seen, tile, tile_key);
      let page = min(block_table[sequence.table_base + key / params.page_size], params.n_pages - 1u);
      let slot = key % params.page_size;
      k_rows[tile % 2u * TILE_KEYS + tile_key] = sequence.k_base + page * params.k_page + slot * params.k_token;
      v_rows[tile % 2u * TILE_KEYS + tile_key] = sequence.v_base + page * params.v_page + slot * params.v_token;
    }
  }
}

fn k_row(sequence: Sequence, seen: Band, tile: u32, tile_key: u32) -> u32 {
  @if(PAGED)  return k_rows[tile % 2u * TILE_KEYS + tile_key];
  @if(!PAGED) return sequence.k_base + key_at(seen, tile, tile_key) * params.k_token;
}

fn v_row(sequence: Sequence, seen: Band, tile: u32, tile_key: u32) -> u32 {
  @if(PAGED)  return v_rows[tile % 2u * TILE_KEYS + tile_key];
  @if(!PAGED) return sequence.v_base + key_at(seen, tile, tile_key) * params.v_token;
}

fn key_at(seen: Band, tile: u32, tile_key: u32) -> u32 {
  return u32(clamp(i32(tile * TILE_KEYS + tile_key), seen.first, max(seen.last, seen.first)));
}
