// attention: what the attention kernels share: their parameters, the work of a workgroup, scores and masks of a row, and
// where its results go.
//
// Variants:
//   ALIBI     scores fall with distance
//   SOFTCAP   scores are bounded by tanh
//   FIRST_KEYS  see band
//   MASK      bits of each row say which keys it sees
//   BLOCKS    bits of each block of query tokens say which blocks of keys it sees: see block_masks
//   BIAS      numbers of each row are added to its scores
//   SPLIT     an item is one of several chunks of keys: its out and sums are a part, for merge_states
//   LSE       the lse of each row is written, or with SPLIT its sums
//   BY_TOKEN  masks differ by more than where a token stands: see token_masks, also for POSITIONS and TREE
//   HIDES     any of MASK, BIAS, BLOCKS, BY_TOKEN and MODS: a key that none of a workgroup's rows sees may be among keys that
//             they see. Its weights are 0, but its value may be NaN, and 0 · NaN is NaN
//   MODS      the caller has functions of its own: SCORE_MOD changes scores, MASK_MOD hides keys; see mods
//
// A chunk is one of the pieces into which the keys of a sequence are split (split-KV). A row has one part from each.

import package::shared::band::{Band, Tiles, band_between, tiles_in, visible_band};
@if(FIRST_KEYS) import package::shared::band::first_keys_end;
import package::shared::batch_info::{CHUNK_LIMIT, Item, Sequence, work_item_at, sequence_at, batch_info};
import package::shared::out_rows::{out, write_lse};
import package::shared::scores::{LOG2_E, capped, sink_part};
@if(BLOCKS) import package::shared::block_masks::{block_row_of, in_blocks};
@if(SCORE_MOD) import package::shared::mods::score_mod;
@if(MASK_MOD) import package::shared::mods::mask_mod;
@if(MODS) import package::shared::lanes::ROLLED_LOOP;
@if(SCORE_MOD) import package::shared::scores::{LN_2, MASKED, NO_MAXIMUM};
@if(BY_TOKEN) import package::shared::token_masks::{
  TokenMask, token_mask_of, index_band_of, key_positions, lets_see, tokens_seen,
};

struct Params {
  first_item: u32,        // of the items of the whole plan, the first of this dispatch
  end_item: u32,          // one past its last
  items_at: u32,          // the first item of the plan in batch_info, in items
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
  out_token: u32,         // with SPLIT: of a part
  out_head: u32,
  lse_token: u32,         // with SPLIT: of the sums of a part
  lse_head: u32,
  sums_at: u32,           // with SPLIT: the first sums in out, behind the outputs of all parts
  page_size: u32,
  n_pages: u32,
  window_left: i32,       // -1: no bound
  window_right: i32,
  attention_chunk: i32,   // local attention in chunks of as many tokens; 0: none
  score_scale: f32,       // q · k to scores in base 2; with a softcap to scores / softcap
  softcap_log2: f32,      // softcap · log2(e)
  slopes_at: u32,         // first slope in batch_info
  slopes_sequence: u32,   // stride of a sequence: n_heads or 0
  sinks_at: u32,          // first sink in batch_info
  has_sinks: u32,
  k_scale_base: u32,      // first scale of a quantised cache, and strides
  k_scale_page: u32,      // without pages, from one row of the cache to the next
  k_scale_token: u32,
  k_scale_head: u32,
  v_scale_base: u32,
  v_scale_page: u32,
  v_scale_token: u32,
  v_scale_head: u32,
  k_scales_at: u32,       // first scale of kv heads in batch_info, of keys
  v_scales_at: u32,       // and of values
  mask_base: u32,         // first word of mask, and strides: 0 where rows share it
  mask_sequence: u32,
  mask_token: u32,
  mask_head: u32,
  bias_base: u32,         // likewise of bias, in elements
  bias_sequence: u32,
  bias_token: u32,
  bias_head: u32,
  first_keys: i32,        // with FIRST_KEYS
  is_causal: u32,         // with FIRST_KEYS, whether those after a query are hidden from it; with BY_TOKEN whether any are
  tokens_at: u32,         // in batch_info, see token_masks
  positions_at: u32,
  tree_at: u32,
  tree_words: u32,
  links_first: u32,       // the first item that has tile_links
  links_item: u32,        // words of tile_links from an item to the next, and from a kv head to the next
  links_head: u32,
  blocks_at: u32,         // in batch_info, see block_masks
  blocks_sequence: u32,   // words from the rows of a sequence to those of the next: 0 where sequences share them
  blocks_head: u32,       // likewise of heads
  blocks_row: u32,        // and from one row to the next
  block_tokens: u32,      // query tokens of a block
  block_keys: u32,
  n_blocks: u32,          // of keys
  full_blocks: u32,       // words from the bits of a block to those which say what is full
}

@group(0) @binding(0) var<uniform> params: Params;

fn chunk_of(item: Item) -> u32 {
  return item.chunks % CHUNK_LIMIT;
}

fn n_chunks_of(item: Item) -> u32 {
  return item.chunks / CHUNK_LIMIT;
}

// What a workgroup does: one item for one kv head.
struct Job {
  item: Item,
  sequence: Sequence,
  kv_head: u32,
  first_row: u32,
  n_rows: u32,            // of the sequence: its query tokens times `group`
}

// The index of a workgroup's item; beyond the last one where the grid was rounded up.
fn item_index(workgroup_index: u32) -> u32 {
  return params.first_item + workgroup_index / params.n_kv_heads;
}

fn job_of(workgroup_index: u32, tile_rows: u32) -> Job {
  let item = work_item_at(params.items_at + item_index(workgroup_index));
  let sequence = sequence_at(item.sequence);
  return Job(
    item, sequence, workgroup_index % params.n_kv_heads, item.row_tile * tile_rows, sequence.q_len * params.group,
  );
}

fn token_of(row: u32) -> u32 {
  return row / params.group;
}

fn head_of(job: Job, row: u32) -> u32 {
  return job.kv_head * params.group + row % params.group;
}

// The keys that a token sees.
fn band_of(sequence: Sequence, token: u32) -> Band {
  @if(!FIRST_KEYS) return visible_band(
    position_of(sequence, token), i32(sequence.first_key), i32(sequence.k_len),
    params.window_left, params.window_right, params.attention_chunk,
  );
  @if(FIRST_KEYS) {
    let position = position_of(sequence, token);
    let first_key = i32(sequence.first_key);
    let k_len = i32(sequence.k_len);
    var band = visible_band(
      position, first_key, k_len, params.window_left, params.window_right, params.attention_chunk,
    );
    band.head_first = first_key;
    band.head_end = first_keys_end(position, first_key, k_len, params.first_keys, params.is_causal != 0u);
    return band;
  }
}

// The position of a token among the keys.
fn position_of(sequence: Sequence, token: u32) -> i32 {
  return i32(token) + i32(sequence.k_len) - i32(sequence.q_len);
}

// What the rows of a tile see: any of them, and all of them.
struct Seen {
  by_any: Band,
  by_all: Band,
}

// What the rows of a job see, at most `tile_rows` of them. Bands move forward with the token, so the first and the last
// token bound both.
@if(!BY_TOKEN) fn rows_seen(job: Job, tile_rows: u32) -> Seen {
  let first = band_of(job.sequence, token_of(job.first_row));
  let last = band_of(job.sequence, token_of(min(job.first_row + tile_rows, job.n_rows) - 1u));
  var seen = Seen(band_between(first.first, last.last), band_between(last.first, first.last));
  @if(FIRST_KEYS) {
    seen.by_any.head_first = first.head_first;
    seen.by_any.head_end = last.head_end;
    seen.by_all.head_first = first.head_first;
    seen.by_all.head_end = first.head_end;
  }
  return seen;
}

@if(BY_TOKEN) fn rows_seen(job: Job, tile_rows: u32) -> Seen {
  let last_token = token_of(min(job.first_row + tile_rows, job.n_rows) - 1u);
  return tokens_seen(job.item.sequence, job.sequence, token_of(job.first_row), last_token);
}

// What masks a row's keys, and with ALIBI lowers their scores.
struct RowMask {
  band: Band,
  @if(BY_TOKEN) token: TokenMask,
  @if((ALIBI || MODS) && !BY_TOKEN) position: i32,
  @if(ALIBI) slope: f32,
  @if(MODS) sequence: u32,
  @if(MODS) head: u32,
  @if(MASK) mask_row: u32,   // where its bits begin
  @if(BIAS) bias_row: u32,
  @if(BLOCKS) block_row: u32,
}

// The mask of a row; past the end, that of some other row: its results are never stored.
fn mask_of(job: Job, row: u32) -> RowMask {
  let token = min(token_of(row), job.sequence.q_len - 1u);
  @if(MASK || BIAS || BLOCKS || BY_TOKEN || MODS) return row_mask_of(job.sequence, job.item.sequence, token, head_of(job, row));
  @if(!MASK && !BIAS && !BLOCKS && !BY_TOKEN && !MODS && ALIBI) {
    let slope = slope_of(job.item.sequence, head_of(job, row));
    return RowMask(band_of(job.sequence, token), position_of(job.sequence, token), slope);
  }
  @if(!MASK && !BIAS && !BLOCKS && !BY_TOKEN && !MODS && !ALIBI) return RowMask(band_of(job.sequence, token));
}

// The mask of a head of a token, with all that a variant has.
fn row_mask_of(sequence: Sequence, sequence_index: u32, token: u32, head: u32) -> RowMask {
  var mask = RowMask();
  @if(!BY_TOKEN) mask.band = band_of(sequence, token);
  @if(BY_TOKEN)  mask.band = index_band_of(sequence, token);
  @if(BY_TOKEN)  mask.token = token_mask_of(sequence_index, sequence, token);
  @if((ALIBI || MODS) && !BY_TOKEN) mask.position = position_of(sequence, token);
  @if(MODS) mask.sequence = sequence_index;
  @if(MODS) mask.head = head;
  @if(ALIBI) mask.slope = slope_of(sequence_index, head);
  @if(MASK || BIAS) let row = sequence.q_start + token;
  @if(MASK) mask.mask_row =
    params.mask_base + sequence_index * params.mask_sequence + row * params.mask_token + head * params.mask_head;
  @if(BIAS) mask.bias_row =
    params.bias_base + sequence_index * params.bias_sequence + row * params.bias_token + head * params.bias_head;
  @if(BLOCKS) mask.block_row = block_row_of(sequence_index, token, head);
  return mask;
}

// The slope of a head, for scores in base 2.
@if(ALIBI) fn slope_of(sequence_index: u32, head: u32) -> f32 {
  return bitcast<f32>(batch_info[params.slopes_at + sequence_index * params.slopes_sequence + head]) * LOG2_E;
}

// The scores of four keys in base 2, given their products with a row.
fn scores_of(products: vec4f, key: vec4i, mask: RowMask) -> vec4f {
  var s = products * params.score_scale;
  @if(SOFTCAP) s = capped(s) * params.softcap_log2;
  @if(ALIBI && BY_TOKEN)  s -= mask.slope * vec4f(abs(key_positions(mask.token.own, key) - mask.token.position));
  @if(ALIBI && !BY_TOKEN) s -= mask.slope * vec4f(abs(key - mask.position));
  return s;
}

// The scores of four keys, bias included, as score_mod has them. Keys that a bias hides stay hidden. What is below -1e30 or
// NaN hides the key, which its bits tell, since arithmetic must not meet it.
@if(SCORE_MOD) fn modified(s: vec4f, key: vec4i, mask: RowMask) -> vec4f {
  @if(BY_TOKEN)  let q = mask.token.position;
  @if(BY_TOKEN)  let k = key_positions(mask.token.own, key);
  @if(!BY_TOKEN) let q = mask.position;
  @if(!BY_TOKEN) let k = key;
  let is_hidden = s < vec4f(NO_MAXIMUM);
  let natural = select(s * LN_2, vec4f(), is_hidden);
  var bits = vec4u();
  // Drivers that compile for a CPU take long for each copy of a function.
  for (var i = 0u; i < max(4u, ROLLED_LOOP); i++) {
    if (i >= 4u) { break; }
    let modded = bitcast<u32>(score_mod(natural[i], mask.sequence, mask.head, q, k[i]));
    bits = select(bits, vec4u(modded), vec4u(i) == vec4u(0, 1, 2, 3));
  }
  let is_lost = (bits > vec4u(LOWEST_BITS)) | ((bits & vec4u(0x7fffffff)) > vec4u(INFINITY_BITS));
  let finite = min(bitcast<vec4f>(select(bits, vec4u(), is_lost)), vec4f(HIGHEST_SCORE));
  return select(finite * LOG2_E, vec4f(MASKED), is_hidden | is_lost);
}

// The last number that is not below -1e30, as for a bias.
@if(SCORE_MOD) const LOWEST_BITS = 0xf149f2c9u;
@if(SCORE_MOD) const INFINITY_BITS = 0x7f800000u;
@if(SCORE_MOD) const HIGHEST_SCORE = 1e30;

// Which of four keys mask_mod lets a row see. It is not asked about blocks that are full.
@if(MASK_MOD) fn lets_see_by_mod(mask: RowMask, key: vec4i) -> vec4<bool> {
  @if(FULL_BLOCKS) let is_full = in_blocks(mask.block_row + params.full_blocks, key);
  @if(FULL_BLOCKS) if (all(is_full)) { return is_full; }
  @if(BY_TOKEN)  let q = mask.token.position;
  @if(BY_TOKEN)  let k = key_positions(mask.token.own, key);
  @if(!BY_TOKEN) let q = mask.position;
  @if(!BY_TOKEN) let k = key;
  var seen = vec4<bool>();
  for (var i = 0u; i < max(4u, ROLLED_LOOP); i++) {
    if (i >= 4u) { break; }
    seen |= vec4<bool>(mask_mod(mask.sequence, mask.head, q, k[i])) & (vec4u(i) == vec4u(0, 1, 2, 3));
  }
  @if(FULL_BLOCKS)  return seen | is_full;
  @if(!FULL_BLOCKS) return seen;
}

fn sees(mask: RowMask, key: vec4i) -> vec4<bool> {
  let is_in_band = (key >= vec4i(mask.band.first)) & (key <= vec4i(mask.band.last));
  @if(BLOCKS) {
    var is_seen = in_blocks(mask.block_row, key);
    @if(BY_TOKEN)                 is_seen &= is_in_band & lets_see(mask.token, key);
    @if(!BY_TOKEN && FIRST_KEYS)  is_seen &= is_in_band | ((key >= vec4i(mask.band.head_first)) & (key < vec4i(mask.band.head_end)));
    @if(!BY_TOKEN && !FIRST_KEYS) is_seen &= is_in_band;
    return is_seen;
  }
  @if(!BLOCKS && BY_TOKEN)                 return is_in_band & lets_see(mask.token, key);
  @if(!BLOCKS && !BY_TOKEN && FIRST_KEYS)  return is_in_band | ((key >= vec4i(mask.band.head_first)) & (key < vec4i(mask.band.head_end)));
  @if(!BLOCKS && !BY_TOKEN && !FIRST_KEYS) return is_in_band;
}

fn largest_of(s: vec4f) -> f32 {
  return max(max(s.x, s.y), max(s.z, s.w));
}

// The tiles that an item walks: its chunk of those in which its rows see any key.
fn tiles_of(item: Item, seen: Band, tile_keys: u32) -> Tiles {
  let all = tiles_in(seen, tile_keys);
  let per_chunk = (all.end - all.first + n_chunks_of(item) - 1u) / n_chunks_of(item);
  let start = all.first + chunk_of(item) * per_chunk;
  return Tiles(start, min(start + per_chunk, all.end));
}

// A row's sums: o and l of the online softmax, with the maximum that they are relative to.
struct Sums {
  maximum: f32,
  total: f32,
}

// The sums with the head's sink, which adds to the total but has no value.
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

// The factor that turns sums of values into outputs.
fn out_scale_of(before: Sums, after: Sums) -> f32 {
  return select(0.0, exp2(before.maximum - after.maximum) / after.total, after.total > 0.0);
}

fn out_row(job: Job, token: u32, head: u32) -> u32 {
  @if(SPLIT)  let row = part_of(job.item, token) * params.out_token;
  @if(!SPLIT) let row = job.sequence.out_base + token * params.out_token;
  return row + head * params.out_head;
}

@if(LSE) fn write_lse_of(job: Job, token: u32, head: u32, sums: Sums) {
  @if(SPLIT)  let row = params.sums_at + part_of(job.item, token) * params.lse_token;
  @if(!SPLIT) let row = job.sequence.lse_base + token * params.lse_token;
  @if(SPLIT)  write_part_sums(row + head * params.lse_head, sums.maximum, sums.total);
  @if(!SPLIT) write_lse(row + head * params.lse_head, sums.maximum, sums.total);
}

// Writes both numbers of a part behind the outputs, for merge_states: where scores are huge, a single number cannot tell how
// parts weigh. out is f32 and OUT_WIDE then. They fill a whole vector, since invocations must not write to one vector together.
@if(SPLIT) fn write_part_sums(at: u32, maximum: f32, total: f32) {
  out[at / 4u] = vec4u(bitcast<u32>(maximum), bitcast<u32>(total), 0u, 0u);
}

// The index of the part that an item writes for a token.
@if(SPLIT) fn part_of(item: Item, token: u32) -> u32 {
  return item.first_part + token * n_chunks_of(item) + chunk_of(item);
}
