// attention: what the attention kernels share: their parameters, the work they are given, masks, pages, and where
// results go.
//
// Variants:
//   PAGED   keys and values lie in pages
//   ALIBI   scores fall with distance
//   SPLIT   an item is one of several chunks of keys: out and lse are parts for merge_states, by slot

import package::shared::band::{Band, visible_band};
import package::shared::batch_info::{Sequence, batch_info};
import package::shared::out_rows::{write_lse, write_sums};
import package::shared::scores::{LOG2_E, sink_part};

struct Params {
  first_item: u32,        // of the items of the whole plan, the first of this dispatch
  n_items: u32,           // one past its last
  n_kv_heads: u32,
  group: u32,             // query heads per kv head
  head_dim: u32,
  head_dim_v: u32,
  q_token: u32,           // strides, in elements
  q_head: u32,
  k_page: u32,
  k_token: u32,
  k_head: u32,
  v_page: u32,
  v_token: u32,
  v_head: u32,
  out_token: u32,         // with SPLIT: of a slot
  out_head: u32,
  lse_token: u32,         // with SPLIT: of a slot
  lse_head: u32,
  page_size: u32,
  n_pages: u32,
  window_left: i32,       // -1: no bound
  window_right: i32,
  attention_chunk: i32,   // 0: none
  score_scale: f32,       // q · k to scores in base 2; with a softcap to scores / softcap
  softcap_log2: f32,      // softcap · log2(e)
  slopes_at: u32,         // first slope in batch_info
  slopes_sequence: u32,   // stride of a sequence: n_heads or 0
  sinks_at: u32,          // first sink in batch_info
  has_sinks: u32,
  has_lse: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(5) var<storage, read> items: array<Item>;

// One of the jobs of a plan: a tile of a sequence's rows against a chunk of the keys that they see.
struct Item {
  sequence: u32,
  row_tile: u32,
  chunks: u32,            // its chunk + how many there are * CHUNK_LIMIT
  slot: u32,              // with SPLIT: where the parts of the sequence begin
}

const CHUNK_LIMIT = 65536u;  // chunks have numbers below

fn chunk_of(item: Item) -> u32 {
  return item.chunks % CHUNK_LIMIT;
}

fn n_chunks_of(item: Item) -> u32 {
  return item.chunks / CHUNK_LIMIT;
}

fn position_of(sequence: Sequence, token: u32) -> i32 {
  return i32(token) + i32(sequence.k_len) - i32(sequence.q_len);
}

fn band_of(sequence: Sequence, token: u32) -> Band {
  return visible_band(
    position_of(sequence, token), i32(sequence.first_key), i32(sequence.k_len),
    params.window_left, params.window_right, params.attention_chunk,
  );
}

@if(ALIBI) fn slope_of(sequence_index: u32, head: u32) -> f32 {
  return bitcast<f32>(batch_info[params.slopes_at + sequence_index * params.slopes_sequence + head]) * LOG2_E;
}

// Tiles first .. end - 1 of keys.
struct Tiles {
  first: u32,
  end: u32,
}

// The tiles that an item walks, of those in which its rows see any key.
fn tiles_of(item: Item, seen: Band, tile_keys: u32) -> Tiles {
  if (seen.last < seen.first) { return Tiles(0u, 0u); }
  let first = u32(seen.first) / tile_keys;
  let end = u32(seen.last) / tile_keys + 1u;
  let per_chunk = (end - first + n_chunks_of(item) - 1u) / n_chunks_of(item);
  let start = first + chunk_of(item) * per_chunk;
  return Tiles(start, min(start + per_chunk, end));
}

// A row's sums: o and l of the online softmax, with the maximum that they are relative to.
struct Sums {
  maximum: f32,
  total: f32,
}

// The sums with the head's sink, which has no value.
fn with_sink(sums: Sums, head: u32) -> Sums {
  @if(!SPLIT) {
    if (params.has_sinks != 0u) {
      let sink = sink_part(batch_info[params.sinks_at + head]);
      let maximum = max(sums.maximum, sink.x);
      return Sums(maximum, sums.total * exp2(sums.maximum - maximum) + sink.y * exp2(sink.x - maximum));
    }
  }
  return sums;
}

// Which factor turns sums of values into outputs.
fn share_of(before: Sums, after: Sums) -> f32 {
  return select(0.0, exp2(before.maximum - after.maximum) / after.total, after.total > 0.0);
}

fn out_row(item: Item, sequence: Sequence, token: u32, head: u32) -> u32 {
  @if(SPLIT)  let row = (item.slot + token * n_chunks_of(item) + chunk_of(item)) * params.out_token;
  @if(!SPLIT) let row = sequence.out_base + token * params.out_token;
  return row + head * params.out_head;
}

fn write_lse_of(item: Item, sequence: Sequence, token: u32, head: u32, sums: Sums) {
  if (params.has_lse == 0u) { return; }
  @if(SPLIT)  let row = (item.slot + token * n_chunks_of(item) + chunk_of(item)) * params.lse_token;
  @if(!SPLIT) let row = sequence.lse_base + token * params.lse_token;
  @if(SPLIT)  write_sums(row + head * params.lse_head, sums.maximum, sums.total);
  @if(!SPLIT) write_lse(row + head * params.lse_head, sums.maximum, sums.total);
}
