// band: the keys that a query sees, or that the rows of a tile do. Causal order, windows and chunks of attention each allow
// an interval, so all of them together do.
//
// Variants:
//   FIRST_KEYS   and before that interval another one, which is never hidden by windows and chunks: the head

struct Band {
  first: i32,
  last: i32,   // included; last < first: none
  @if(FIRST_KEYS) head_first: i32,
  @if(FIRST_KEYS) head_end: i32,     // not included
}

fn band_between(first: i32, last: i32) -> Band {
  @if(FIRST_KEYS)  return Band(first, last, 0, 0);
  @if(!FIRST_KEYS) return Band(first, last);
}

// The band of a query. `position` is that of the query among the keys (aligned bottom right). -1 leaves a side of the
// window open, and `attention_chunk` 0 means no chunks. Keys before `first_key` are padding, which is hidden, and chunks
// are counted from there.
fn visible_band(position: i32, first_key: i32, k_len: i32, left: i32, right: i32, attention_chunk: i32) -> Band {
  var band = band_between(first_key, k_len - 1);
  if (left >= 0) { band.first = max(band.first, position - left); }
  if (right >= 0) { band.last = min(band.last, position + right); }
  if (attention_chunk > 0) {
    if (position < first_key) { return band_between(first_key, first_key - 1); }  // in a chunk before that of any key
    let chunk_start = first_key + (position - first_key) / attention_chunk * attention_chunk;
    band.first = max(band.first, chunk_start);
    band.last = min(band.last, chunk_start + attention_chunk - 1);
  }
  return band;
}

// One past the first keys that a query sees; they begin at `first_key`.
@if(FIRST_KEYS) fn first_keys_end(position: i32, first_key: i32, k_len: i32, first_keys: i32, causal: bool) -> i32 {
  let end = min(first_key + first_keys, k_len);
  return select(end, min(end, position + 1), causal);
}

// Whether any of the keys from `first` to `last`, both included, is in the band.
fn has_any_of(band: Band, first: i32, last: i32) -> bool {
  let is_in_band = max(band.first, first) <= min(band.last, last);
  @if(FIRST_KEYS)  return is_in_band || max(band.head_first, first) <= min(band.head_end - 1, last);
  @if(!FIRST_KEYS) return is_in_band;
}

// Whether all of them are.
fn has_all_of(band: Band, first: i32, last: i32) -> bool {
  let are_in_band = first >= band.first && last <= band.last;
  @if(FIRST_KEYS)  return are_in_band || (first >= band.head_first && last < band.head_end);
  @if(!FIRST_KEYS) return are_in_band;
}

// The last key of the band.
fn last_of(band: Band) -> i32 {
  @if(FIRST_KEYS)  return max(band.last, band.head_end - 1);
  @if(!FIRST_KEYS) return band.last;
}

// The key, or one of the band: the nearest one before or after it.
fn nearest_of(band: Band, key: i32) -> i32 {
  let in_band = clamp(key, band.first, max(band.last, band.first));
  @if(FIRST_KEYS) {
    let is_band_later = band.last < band.first || key < max(band.first, band.head_end);
    if (band.head_first < band.head_end && is_band_later) { return clamp(key, band.head_first, band.head_end - 1); }
  }
  return in_band;
}

// Tiles of keys in which the band has any: first .. end - 1. With FIRST_KEYS those between head and interval are not counted.
struct Tiles {
  first: u32,
  end: u32,
}

fn tiles_in(band: Band, tile_keys: u32) -> Tiles {
  @if(FIRST_KEYS) {
    if (band.head_first < band.head_end) {
      let head_end = tile_after_head(band, tile_keys);
      let end = select(0u, u32(max(band.last, 0)) / tile_keys + 1u, band.first <= band.last);
      return Tiles(u32(band.head_first) / tile_keys, max(head_end, end - min(end, tiles_between(band, tile_keys))));
    }
  }
  if (band.last < band.first) { return Tiles(0u, 0u); }
  return Tiles(u32(band.first) / tile_keys, u32(band.last) / tile_keys + 1u);
}

@if(FIRST_KEYS) fn tile_after_head(band: Band, tile_keys: u32) -> u32 {
  return (u32(max(band.head_end, 0)) + tile_keys - 1u) / tile_keys;
}

// Tiles between head and interval, in which no key is seen.
@if(FIRST_KEYS) fn tiles_between(band: Band, tile_keys: u32) -> u32 {
  let first = u32(max(band.first, 0)) / tile_keys;
  let after = tile_after_head(band, tile_keys);
  return select(0u, first - min(first, after), band.head_first < band.head_end && band.first <= band.last);
}
