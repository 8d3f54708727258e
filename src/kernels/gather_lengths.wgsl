// gather_lengths: writes the `Sequence` records of a batch (lengths, and where data begin) where lengths are on the GPU, and
// copies the items that were planned for it.
//
//   in   cu_seqlens_q      [B + 1]  i32   if has_cu_q; else every sequence has max_seqlen_q queries
//   in   cu_seqlens_k      [B + 1]  i32   if has_cu_k
//   in   cached_keys         [B]      i32   if has_cached_keys; with new tokens, the keys before them
//   in   cu_seqlens_k_new  [B + 1]  i32   if has_cu_k_new; else every sequence has n_new new tokens
//   in   cache_batch_idx   [B]      i32   if has_batch_idx; else sequence b has row b of the cache
//   in   cache_leftpad     [B]      i32   if has_leftpad
//   in   items             [n_item_words]  u32
//   out  gathered          Sequence [B], ..., items; see batch_info
//
// One invocation writes one sequence, or copies one word of the items. Lengths are clamped to what the tensors hold, so that no later kernel reaches
// outside of them, whatever the lengths say. A sequence whose row is not there (-1 for padding), or whose queries or new
// keys have positions beyond the rotary tables, has no keys, and nothing is appended.

import package::shared::batch_info::{Sequence, gathered, put_sequence};

const WG_SIZE = 64u;

struct Params {
  batch: u32,
  total_q: i32,
  total_k: i32,           // keys of all sequences; of pages or cache rows, what a row can hold
  total_new: i32,
  max_seqlen_q: i32,
  max_seqlen_k: i32,
  n_new: i32,
  n_rows: u32,            // of the cache, or of block_table
  n_positions: i32,       // of the rotary tables; 0: nothing is rotated
  queries_advance: u32,   // positions of queries go up by one; else all are n_cached
  has_cu_q: u32,
  has_cu_k: u32,
  has_cached_keys: u32,
  has_cu_k_new: u32,
  has_batch_idx: u32,
  has_leftpad: u32,
  is_cached: u32,         // each sequence has a row of its own, of block_table or of the cache
  q_base: u32,            // where each tensor starts, and its strides, in elements
  k_base: u32,
  v_base: u32,
  out_base: u32,
  lse_base: u32,
  table_base: u32,
  new_k_base: u32,
  new_v_base: u32,
  q_sequence: u32,
  k_sequence: u32,
  v_sequence: u32,
  out_sequence: u32,
  lse_sequence: u32,
  table_row: u32,
  new_k_sequence: u32,
  new_v_sequence: u32,
  q_token: u32,
  k_token: u32,
  v_token: u32,
  out_token: u32,
  lse_token: u32,
  new_k_token: u32,
  new_v_token: u32,
  cu_q_base: u32,
  cu_k_base: u32,
  cached_keys_base: u32,
  cu_k_new_base: u32,
  batch_idx_base: u32,
  leftpad_base: u32,
  item_word: u32,         // the first word of the items in batch_info
  n_item_words: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> cu_seqlens_q: array<i32>;
@group(0) @binding(2) var<storage, read> cu_seqlens_k: array<i32>;
@group(0) @binding(3) var<storage, read> cached_keys: array<i32>;
@group(0) @binding(5) var<storage, read> cu_seqlens_k_new: array<i32>;
@group(0) @binding(6) var<storage, read> cache_batch_idx: array<u32>;
@group(0) @binding(7) var<storage, read> cache_leftpad: array<i32>;
@group(0) @binding(8) var<storage, read> items: array<u32>;

@compute @workgroup_size(WG_SIZE)
fn gather_lengths(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let b = (workgroup_id.y * grid.x + workgroup_id.x) * WG_SIZE + local;
  if (b >= params.batch) {
    let word = b - params.batch;
    if (word < params.n_item_words) { gathered[params.item_word + word] = items[word]; }
    return;
  }

  var q_start = 0;
  var q_len = params.max_seqlen_q;
  if (params.has_cu_q != 0u) {
    q_start = clamp(cu_seqlens_q[params.cu_q_base + b], 0, params.total_q);
    q_len = min(clamp(cu_seqlens_q[params.cu_q_base + b + 1u], q_start, params.total_q) - q_start, params.max_seqlen_q);
  }

  var k_start = 0;
  var n_cached = params.total_k;
  if (params.has_cu_k != 0u) {
    let start = max(cu_seqlens_k[params.cu_k_base + b], 0);
    let end = max(cu_seqlens_k[params.cu_k_base + b + 1u], start);
    if (params.is_cached != 0u) {
      n_cached = min(end - start, params.total_k);
    } else {
      k_start = min(start, params.total_k);
      n_cached = min(end, params.total_k) - k_start;
    }
  }
  if (params.has_cached_keys != 0u) { n_cached = clamp(cached_keys[params.cached_keys_base + b], 0, n_cached); }

  var new_start = 0;
  var n_new = params.n_new;
  if (params.has_cu_k_new != 0u) {
    new_start = clamp(cu_seqlens_k_new[params.cu_k_new_base + b], 0, params.total_new);
    n_new = clamp(cu_seqlens_k_new[params.cu_k_new_base + b + 1u], new_start, params.total_new) - new_start;
  }
  let room = select(n_cached, params.total_k, params.is_cached != 0u);
  var k_len = min(n_cached + min(n_new, room - n_cached), params.max_seqlen_k);

  var row = b;
  if (params.has_batch_idx != 0u) { row = cache_batch_idx[params.batch_idx_base + b]; }
  if (row >= params.n_rows || is_beyond_angles(n_cached, q_len, k_len)) {
    row = 0u;
    n_cached = 0;
    k_len = 0;
  }
  var first_key = 0;
  if (params.has_leftpad != 0u) { first_key = clamp(cache_leftpad[params.leftpad_base + b], 0, k_len); }

  put_sequence(b, Sequence(
    u32(q_len),
    u32(k_len),
    u32(first_key),
    u32(n_cached),
    params.q_base + b * params.q_sequence + u32(q_start) * params.q_token,
    params.k_base + row * params.k_sequence + u32(k_start) * params.k_token,
    params.v_base + row * params.v_sequence + u32(k_start) * params.v_token,
    params.out_base + b * params.out_sequence + u32(q_start) * params.out_token,
    params.lse_base + b * params.lse_sequence + u32(q_start) * params.lse_token,
    params.table_base + row * params.table_row,
    params.new_k_base + b * params.new_k_sequence + u32(new_start) * params.new_k_token,
    params.new_v_base + b * params.new_v_sequence + u32(new_start) * params.new_v_token,
    u32(q_start),
  ));
}

fn is_beyond_angles(n_cached: i32, q_len: i32, k_len: i32) -> bool {
  if (params.n_positions == 0) { return false; }
  let reach = select(min(q_len, 1), q_len, params.queries_advance != 0u);
  let is_query_beyond = reach > 0 && n_cached > params.n_positions - reach;
  let is_key_beyond = k_len > n_cached && k_len > params.n_positions;
  return is_query_beyond || is_key_beyond;
}
