// batch_info: what is planned of a batch. One record per sequence (lengths, and where its data begin in each tensor), then
// slopes and sinks of heads, scales of kv heads, positions and trees of query tokens, and last the items of the attention
// kernels. It is one array, since a kernel may have eight storage buffers.

@group(0) @binding(4) var<storage, read> batch_info: array<u32>;   // Sequence [B], slopes, sinks, scales, tokens, Item [items]
// The same where it is gathered.
@group(0) @binding(4) var<storage, read_write> gathered: array<u32>;   // Sequence [B], and the rest as in batch_info

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
@record(gathered) fn put_sequence(index: u32, sequence: Sequence);

// A tile of a sequence's rows against a chunk of the keys that they see.
struct Item {
  sequence: u32,
  row_tile: u32,
  chunks: u32,       // its chunk + how many there are * CHUNK_LIMIT
  first_part: u32,   // with SPLIT: of the sequence
}

// Items begin at a multiple of their own size.
@record(batch_info) fn work_item_at(index: u32) -> Item;

const CHUNK_LIMIT = 65536u;  // numbers of chunks are below it

// What token_masks has of each sequence.
const TOKEN_PLACE_WORDS = 2u;
