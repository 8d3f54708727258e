// naive_shape: what all kernels of naive attention know of a layer, and of the work of a dispatch.

override N_HEADS: u32;
override N_KV_HEADS: u32;
override HEAD_DIM: u32;
override CAPACITY: u32;   // keys that the cache holds of a sequence
override WINDOW: u32;     // a query at p sees the keys p - WINDOW + 1 ... p; 0: all up to p

const WG_SIZE = 64u;
// The bound of loops that break out earlier.
const MANY = 0x7fffffffu;

// Queries of one sequence whose scores are in memory at once: [n_rows, N_HEADS, n_keys] from scores_base on.
struct Chunk {
  first_row: u32,        // in the step
  n_rows: u32,
  first_position: u32,   // of the first row, in its sequence
  slot: u32,             // the sequence's row of the cache
  n_keys: u32,           // that the last row sees, or would without a window
  scores_base: u32,
  unused0: u32,
  unused1: u32,
}

// The first key that a query sees.
fn first_key(position: u32) -> u32 {
  return select(0u, position + 1u - min(WINDOW, position + 1u), WINDOW > 0u);
}

// Pairs before the head of a key in k_cache and v_cache.
fn key_base(slot: u32, key: u32, kv_head: u32) -> u32 {
  return ((slot * CAPACITY + key) * N_KV_HEADS + kv_head) * (HEAD_DIM / 2u);
}
