// key_offsets: where the keys of a tile and their values begin: the index of their first element in k and v. With PAGED
// the pages are looked up once for all dims of a tile, one tile ahead: between `find_offsets` and the use of its tile
// there must be a barrier.
//
// A block table may name pages that the pool does not have (-1 for padding). Their keys are masked, and their values are
// never read, since a weight of 0 does not hide a NaN. In place of such a key the first one of the pool is read,
// whatever it holds: a score depends on its key alone, and this one is masked.
//
// Variants:
//   PAGED      keys and values lie in pages
//   SKIPS      tiles between the first keys and those of a window have no number
//   KEYS_ONCE  those of keys are kept of one tile alone, which is loaded before the next one is looked up
//   PREFETCH   every invocation looks up a key, some beyond the tile
//   SCALE_OFFSETS   with PAGED, KV_SCALES: offsets of scales are looked up as well; else whoever needs scales asks for slots

import package::shared::attention::params;
import package::shared::band::{Band, nearest_of};
@if(SKIPS) import package::shared::band::{tile_after_head, tiles_between};
import package::shared::batch_info::Sequence;
import constants::{WG_SIZE, TILE_KEYS};

@group(0) @binding(6) var<storage, read> block_table: array<u32>;

@if(PREFETCH)  const OFFSETS = max(TILE_KEYS, WG_SIZE);
@if(!PREFETCH) const OFFSETS = TILE_KEYS;

@if(PAGED && !KEYS_ONCE) var<workgroup> k_offsets: array<u32, 2 * OFFSETS>;  // of this tile and the next
@if(PAGED && KEYS_ONCE)  var<workgroup> k_offsets: array<u32, OFFSETS>;
@if(PAGED) var<workgroup> v_offsets: array<u32, 2 * OFFSETS>;
@if(SCALE_OFFSETS && !KEYS_ONCE) var<workgroup> k_scale_offsets: array<u32, 2 * OFFSETS>;
@if(SCALE_OFFSETS && KEYS_ONCE)  var<workgroup> k_scale_offsets: array<u32, OFFSETS>;
@if(SCALE_OFFSETS) var<workgroup> v_scale_offsets: array<u32, 2 * OFFSETS>;

// In v_offsets, of a key whose page is not in the pool: no binding is large enough for such an offset.
const NO_PAGE = 0xffffffffu;

// Looks up the offsets of a tile. Keys that no row sees get the offset of the nearest key that is seen.
@if(PAGED) fn find_offsets(sequence: Sequence, seen: Band, tile: u32, invocation: u32) {
  for (var step = 0u; step < (TILE_KEYS + WG_SIZE - 1) / WG_SIZE; step++) {
    let tile_key = step * WG_SIZE + invocation;
    keep_offsets_in_tile(sequence, tile, tile_key, slot_in_tile(sequence, seen, tile, tile_key));
  }
}

// The two halves of it, for a kernel that needs the slot for more than offsets, or long before these have room. Places beyond
// the tile have neither.
fn slot_in_tile(sequence: Sequence, seen: Band, tile: u32, tile_key: u32) -> Slot {
  if (tile_key >= TILE_KEYS) { return Slot(); }
  return slot_of(sequence, seen, tile, tile_key);
}

@if(PAGED) fn keep_offsets_in_tile(sequence: Sequence, tile: u32, tile_key: u32, slot: Slot) {
  if (tile_key < TILE_KEYS) { keep_offsets(sequence, tile, tile_key, slot); }
}

// Where a key lies.
struct Slot {
  page: u32,     // without PAGED the row of the cache
  offset: u32,   // in the page, in tokens
}

fn slot_of(sequence: Sequence, seen: Band, tile: u32, tile_key: u32) -> Slot {
  let key = key_at(seen, tile, tile_key);
  @if(PAGED)  return Slot(block_table[sequence.table_base + key / params.page_size], key % params.page_size);
  @if(!PAGED) return Slot(sequence.table_base, key);
}

// Whether there is such a page.
fn is_in_pool(slot: Slot) -> bool {
  @if(PAGED)  return slot.page < params.n_pages;
  @if(!PAGED) return true;
}

@if(PAGED) fn keep_offsets(sequence: Sequence, tile: u32, tile_key: u32, slot: Slot) {
  let at = tile % 2u * OFFSETS + tile_key;
  let is_there = slot.page < params.n_pages;
  @if(KEYS_ONCE)  let k_at = tile_key;
  @if(!KEYS_ONCE) let k_at = at;
  k_offsets[k_at] = sequence.k_base + select(0u, slot.page * params.k_page + slot.offset * params.k_token, is_there);
  v_offsets[at] = select(NO_PAGE, sequence.v_base + slot.page * params.v_page + slot.offset * params.v_token, is_there);
  @if(SCALE_OFFSETS) {
    let page = select(0u, slot.page, is_there);
    k_scale_offsets[k_at] = params.k_scale_base + page * params.k_scale_page + slot.offset * params.k_scale_token;
    v_scale_offsets[at] = params.v_scale_base + page * params.v_scale_page + slot.offset * params.v_scale_token;
  }
}

fn k_offset(sequence: Sequence, seen: Band, tile: u32, tile_key: u32) -> u32 {
  @if(PAGED && KEYS_ONCE)  return k_offsets[tile_key];
  @if(PAGED && !KEYS_ONCE) return k_offsets[tile % 2u * OFFSETS + tile_key];
  @if(!PAGED) return sequence.k_base + key_at(seen, tile, tile_key) * params.k_token;
}

fn v_offset(sequence: Sequence, seen: Band, tile: u32, tile_key: u32) -> u32 {
  @if(PAGED)  return v_offsets[tile % 2u * OFFSETS + tile_key];
  @if(!PAGED) return sequence.v_base + key_at(seen, tile, tile_key) * params.v_token;
}

// Where the scales of a key begin, those of its first head.
@if(KV_SCALES) fn k_scale_offset(sequence: Sequence, seen: Band, tile: u32, tile_key: u32) -> u32 {
  @if(PAGED && KEYS_ONCE)  return k_scale_offsets[tile_key];
  @if(PAGED && !KEYS_ONCE) return k_scale_offsets[tile % 2u * OFFSETS + tile_key];
  @if(!PAGED) return params.k_scale_base + sequence.table_base * params.k_scale_page
    + key_at(seen, tile, tile_key) * params.k_scale_token;
}

@if(KV_SCALES) fn v_scale_offset(sequence: Sequence, seen: Band, tile: u32, tile_key: u32) -> u32 {
  @if(PAGED)  return v_scale_offsets[tile % 2u * OFFSETS + tile_key];
  @if(!PAGED) return params.v_scale_base + sequence.table_base * params.v_scale_page
    + key_at(seen, tile, tile_key) * params.v_scale_token;
}

// Whether the value at an offset from v_offset has a page.
fn has_page(offset: u32) -> bool {
  @if(PAGED)  return offset != NO_PAGE;
  @if(!PAGED) return true;
}

// Whether the key in place `tile_key` of a tile has one.
@if(PAGED) fn is_in_page(tile: u32, tile_key: u32) -> bool {
  return has_page(v_offsets[tile % 2u * OFFSETS + tile_key]);
}

// The offsets of four neighbouring keys. One minimum tells compilers that all four are within bounds.
fn k_offsets_of(sequence: Sequence, seen: Band, tile: u32, quad: u32) -> vec4u {
  @if(PAGED && KEYS_ONCE)  let at = min(quad * 4u, OFFSETS - 4u);
  @if(PAGED && !KEYS_ONCE) let at = min(tile % 2u * OFFSETS + quad * 4u, 2 * OFFSETS - 4u);
  @if(PAGED)  return vec4u(k_offsets[at], k_offsets[at + 1u], k_offsets[at + 2u], k_offsets[at + 3u]);
  @if(!PAGED) return vec4u(
    k_offset(sequence, seen, tile, quad * 4u), k_offset(sequence, seen, tile, quad * 4u + 1u),
    k_offset(sequence, seen, tile, quad * 4u + 2u), k_offset(sequence, seen, tile, quad * 4u + 3u),
  );
}

// And of their values.
fn v_offsets_of(sequence: Sequence, seen: Band, tile: u32, quad: u32) -> vec4u {
  @if(PAGED)  return kept_v_offsets(tile, quad);
  @if(!PAGED) return vec4u(
    v_offset(sequence, seen, tile, quad * 4u), v_offset(sequence, seen, tile, quad * 4u + 1u),
    v_offset(sequence, seen, tile, quad * 4u + 2u), v_offset(sequence, seen, tile, quad * 4u + 3u),
  );
}

// The offset of a value, or the other one if the value has no page.
fn offset_or(offset: u32, other: u32) -> u32 {
  return select(other, offset, has_page(offset));
}

// The offsets of four neighbouring values, as they were looked up: NO_PAGE of those without a page.
@if(PAGED) fn kept_v_offsets(tile: u32, quad: u32) -> vec4u {
  let at = min(tile % 2u * OFFSETS + quad * 4u, 2 * OFFSETS - 4u);
  return vec4u(v_offsets[at], v_offsets[at + 1u], v_offsets[at + 2u], v_offsets[at + 3u]);
}

// Which of four neighbouring keys have a page.
@if(PAGED) fn have_pages(tile: u32, quad: u32) -> vec4<bool> {
  return kept_v_offsets(tile, quad) != vec4u(NO_PAGE);
}

// The key in place `tile_key` of a tile, or the nearest one that is seen.
fn key_at(seen: Band, tile: u32, tile_key: u32) -> u32 {
  return u32(nearest_of(seen, i32(first_key_of(seen, tile) + tile_key)));
}

// The first key of a tile.
fn first_key_of(seen: Band, tile: u32) -> u32 {
  @if(SKIPS) {
    let skipped = select(0u, tiles_between(seen, TILE_KEYS), tile >= tile_after_head(seen, TILE_KEYS));
    return (tile + skipped) * TILE_KEYS;
  }
  @if(!SKIPS) return tile * TILE_KEYS;
}
