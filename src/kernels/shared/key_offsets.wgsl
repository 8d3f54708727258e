// key_rows: the first elements of the keys of a tile and of their values. With PAGED the pages are looked up once for all
// dims of a tile, one tile ahead: between `find_rows` and the use of its tile there must be a barrier.
//
// A block table may name pages that the pool does not have (-1 for padding). Their keys are masked, and their values are
// never read, since a weight of 0 does not hide a NaN. In place of such a key the first one of the pool is read, whatever
// it holds: a score depends on its key alone, and this one is masked.
//
// Variants:
//   PAGED   keys and values lie in pages

import package::shared::attention::params;
import package::shared::band::Band;
import package::shared::batch_info::Sequence;
import constants::{WG_SIZE, TILE_KEYS};

@group(0) @binding(6) var<storage, read> block_table: array<u32>;

@if(PAGED) var<workgroup> k_rows: array<u32, 2 * TILE_KEYS>;  // of this tile and the next
@if(PAGED) var<workgroup> v_rows: array<u32, 2 * TILE_KEYS>;

// In v_rows, of a page that is not there: no binding is large enough for such a row.
const NO_ROW = 0xffffffffu;

// Looks up the rows of a tile. Keys that no row sees get the row of the nearest key that is seen.
@if(PAGED) fn find_rows(sequence: Sequence, seen: Band, tile: u32, thread: u32) {
  for (var step = 0u; step < (TILE_KEYS + WG_SIZE - 1) / WG_SIZE; step++) {
    let tile_key = step * WG_SIZE + thread;
    if (tile_key < TILE_KEYS) {
      let key = key_at(seen, tile, tile_key);
      let page = block_table[sequence.table_base + key / params.page_size];
      let slot = key % params.page_size;
      let at = tile % 2u * TILE_KEYS + tile_key;
      let is_there = page < params.n_pages;
      k_rows[at] = sequence.k_base + select(0u, page * params.k_page + slot * params.k_token, is_there);
      v_rows[at] = select(NO_ROW, sequence.v_base + page * params.v_page + slot * params.v_token, is_there);
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

// Whether a value has a page.
fn is_row(row: u32) -> bool {
  @if(PAGED)  return row != NO_ROW;
  @if(!PAGED) return true;
}

// The rows of four neighbouring keys.
fn k_rows_of(sequence: Sequence, seen: Band, tile: u32, quad: u32) -> vec4u {
  return vec4u(
    k_row(sequence, seen, tile, quad * 4u), k_row(sequence, seen, tile, quad * 4u + 1u),
    k_row(sequence, seen, tile, quad * 4u + 2u), k_row(sequence, seen, tile, quad * 4u + 3u),
  );
}

fn row_or(row: u32, other: u32) -> u32 {
  return select(other, row, is_row(row));
}

// Which of four neighbouring keys have a page.
@if(PAGED) fn have_pages(tile: u32, quad: u32) -> vec4<bool> {
  let at = tile % 2u * TILE_KEYS + quad * 4u;
  return vec4u(v_rows[at], v_rows[at + 1u], v_rows[at + 2u], v_rows[at + 3u]) != vec4u(NO_ROW);
}

fn key_at(seen: Band, tile: u32, tile_key: u32) -> u32 {
  return u32(clamp(i32(tile * TILE_KEYS + tile_key), seen.first, max(seen.last, seen.first)));
}
