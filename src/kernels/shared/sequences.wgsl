// sequences: how long each sequence of a batch is, and where it lies in each tensor.

@group(0) @binding(4) var<storage, read> tables: array<u32>;   // Sequence [B], then ALiBi slopes, then sinks, as f32 bits

const SEQUENCE_WORDS = 12u;

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
  table_base: u32,   // first entry of its row of block_table
  new_k_base: u32,
  new_v_base: u32,
}

fn sequence_at(index: u32) -> Sequence {
  let at = index * SEQUENCE_WORDS;
  return Sequence(
    tables[at], tables[at + 1u], tables[at + 2u], tables[at + 3u],
    tables[at + 4u], tables[at + 5u], tables[at + 6u], tables[at + 7u],
    tables[at + 8u], tables[at + 9u], tables[at + 10u], tables[at + 11u],
  );
}
