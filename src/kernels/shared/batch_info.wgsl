// batch_info: one record per sequence (lengths, and where its data begin in each tensor), then slopes and sinks of
// heads, scales of kv heads, and positions and trees of query tokens. It is one array, since a kernel may have eight storage
// buffers.

@group(0) @binding(4) var<storage, read> batch_info: array<u32>;   // Sequence [B], slopes, sinks, scales

struct Sequence {
  q_len: u32,
  k_len: u32,        // new tokens included
  first_key: u32,    // keys before it are hidden from every query
  n_cached: u32,     // keys that were there before the new tokens
  q_base: u32,       // first element of each tensor
  k_base: u32,
  v_base: u32,
  out_base: u32,
  lse_base: u32,
  table_base: u32,   // first entry of its row of block_table; without pages its row of the cache
  new_k_base: u32,
  new_v_base: u32,
  q_start: u32,      // its first query token among those of all sequences; 0 in a dense batch
}

@record(batch_info) fn sequence_at(index: u32) -> Sequence;

// What token_masks has of each sequence.
const TOKEN_PLACE_WORDS = 2u;
