// mask_tiles: finds the tiles of keys of which masks hide all from all rows of an item, and those of which they hide none:
// masks of bits, and masks of blocks.
//
//   in   batch_info  Sequence [B], …, Item [items]
//   in   mask        [B or 1, n_heads or 1, tokens, words]   u32   with MASK, see dense_masks
//   out  links       [items, n_kv_heads or 1, tiles]         u32   see tile_links
//
// One workgroup takes one item of one kv head, or of all of them where heads share the masks: it classifies as many tiles at a
// time as it has invocations, from the last to the first, and then one invocation links them.
//
// Variants:
//   MASK, BLOCKS, and those of band and token_masks: see attention

import package::shared::attention::{params, Job, item_index, job_of, token_of, head_of, rows_seen, tiles_of};
@if(MASK) import package::shared::attention::row_mask_of;
import package::shared::band::Band;
import package::shared::key_offsets::first_key_of;
import package::shared::lanes::MANY;
@if(BLOCKS) import package::shared::block_masks::{block_row_of, has_block};
@if(MASK) import package::shared::dense_masks::mask;
import package::shared::tile_links::links_at;
import constants::{WG_SIZE, TILE_KEYS, TILE_ROWS};

@group(0) @binding(7) var<storage, read_write> links: array<u32>;

const HIDDEN = 0u;
const MIXED = 1u;
const FULL = 2u;

var<workgroup> kinds: array<u32, WG_SIZE>;

@compute @workgroup_size(WG_SIZE)
fn mask_tiles(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let workgroup_index = workgroup_id.y * grid.x + workgroup_id.x;
  let item = item_index(workgroup_index);
  if (item >= params.end_item) { return; }
  let job = job_of(workgroup_index, TILE_ROWS);
  if (job.first_row >= job.n_rows) { return; }
  let seen = rows_seen(job, TILE_ROWS).by_any;
  let tiles = tiles_of(job.item, seen, TILE_KEYS);
  let n_tiles = max(tiles.end, tiles.first) - tiles.first;
  let n_blocks = (n_tiles + WG_SIZE - 1u) / WG_SIZE;
  let at = links_at(item, job.kv_head);
  var link = tiles.end * 2u;
  for (var i = 0u; i < MANY; i++) {
    if (i >= n_blocks) { break; }
    let first = (n_blocks - 1u - i) * WG_SIZE;
    var kind = HIDDEN;
    if (first + local < n_tiles) { kind = kind_of(job, seen, tiles.first + first + local); }
    kinds[local] = kind;
    workgroupBarrier();
    if (local == 0u) {
      for (var j = 0u; j < WG_SIZE; j++) {
        let place = WG_SIZE - 1u - j;
        if (first + place < n_tiles) {
          if (kinds[place] != HIDDEN) { link = (tiles.first + first + place) * 2u + kinds[place] / FULL; }
          links[at + first + place] = link;
        }
      }
    }
    workgroupBarrier();  // the next block overwrites the kinds of this one
  }
}

// What all masks let the rows see of a tile: hidden by one is hidden, and full is what is full for all of them.
fn kind_of(job: Job, seen: Band, tile: u32) -> u32 {
  let first_key = first_key_of(seen, tile);
  let end_key = min(first_key + TILE_KEYS, job.sequence.k_len);
  var kind = FULL;
  @if(MASK)   kind = min(kind, kind_of_bits(job, first_key, end_key));
  @if(BLOCKS) kind = min(kind, kind_of_blocks(job, first_key, end_key));
  // What a mod hides is not known here, but for blocks that are full.
  @if(MASK_MOD && !FULL_BLOCKS) kind = min(kind, MIXED);
  return kind;
}

@if(MASK) fn kind_of_bits(job: Job, first_key: u32, end_key: u32) -> u32 {
  let end_row = min(job.first_row + TILE_ROWS, job.n_rows);
  var any = 0u;
  var missing = 0u;
  for (var i = 0u; i < TILE_ROWS; i++) {
    let row = job.first_row + i;
    if (row >= end_row) { break; }
    // Where heads share the mask, a token has one row.
    if (params.mask_head == 0u && i > 0u && row % params.group != 0u) { continue; }
    let row_at = row_mask_of(job.sequence, job.item.sequence, token_of(row), head_of(job, row)).mask_row;
    var key = first_key;
    for (var word = 0u; word < TILE_KEYS; word++) {
      if (key >= end_key) { break; }
      let n_keys = min(32u - key % 32u, end_key - key);
      let of_keys = 0xffffffffu >> (32u - n_keys);
      let bits = (mask[row_at + key / 32u] >> (key % 32u)) & of_keys;
      any |= bits;
      missing |= bits ^ of_keys;
      key += n_keys;
    }
  }
  return kind_from(any != 0u, missing != 0u);
}

@if(BLOCKS) fn kind_of_blocks(job: Job, first_key: u32, end_key: u32) -> u32 {
  let end_row = min(job.first_row + TILE_ROWS, job.n_rows);
  let first_block = first_key / params.block_keys;
  var any = false;
  var missing = false;
  for (var i = 0u; i < TILE_ROWS; i++) {
    let row = job.first_row + i;
    if (row >= end_row || end_key <= first_key) { break; }
    let token = token_of(row);
    // A block of tokens has one row for each head, or one where heads share it.
    if (params.blocks_head == 0u && i > 0u && row % params.group != 0u) { continue; }
    if (i >= params.group && token % params.block_tokens != 0u) { continue; }
    let row_at = block_row_of(job.item.sequence, token, head_of(job, row));
    for (var block = first_block; block < MANY; block++) {
      if (block > (end_key - 1u) / params.block_keys) { break; }
      let is_listed = has_block(row_at, block);
      any |= is_listed;
      @if(FULL_BLOCKS)  missing |= !has_block(row_at + params.full_blocks, block);
      @if(!FULL_BLOCKS) missing |= !is_listed;
    }
  }
  return kind_from(any, missing);
}

fn kind_from(any: bool, missing: bool) -> u32 {
  if (!any) { return HIDDEN; }
  return select(FULL, MIXED, missing);
}
