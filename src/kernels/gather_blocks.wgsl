// gather_blocks: writes which blocks of keys each block of query tokens sees into batch_info, as bits, where any of it is on
// the GPU.
//
//   in      listed_counts   [B or 1, n_heads or 1, rows]         i32   how many entries of a list count
//   in      listed_indices  [B or 1, n_heads or 1, rows, width]  i32   blocks of keys
//   in      full_counts, full_indices   likewise, if has_full
//   in-out  gathered        batch_info, of which bits [B or 1, n_heads or 1, rows, words] are written: see block_masks; with
//                           keeps_full twice, of all blocks and of the full ones
//
// One workgroup takes a row of bits, as many words at a time as it has invocations: these mark the entries of its lists in
// turn. Blocks that there are not are left out, and counts beyond the width of a list are those of a whole one.

import package::shared::batch_info::gathered;
import package::shared::lanes::MANY;

const WG_SIZE = 64u;

struct Params {
  n_all_rows: u32,        // of all sequences and heads
  n_heads: u32,           // that have rows of their own
  n_rows: u32,
  n_columns: u32,         // blocks of keys
  words: u32,             // of a row
  blocks_at: u32,         // in batch_info
  full_blocks_at: u32,
  has_full: u32,
  keeps_full: u32,        // whether what is full is written by itself, too
  listed_width: u32,
  listed_counts_base: u32,
  listed_counts_sequence: u32,   // strides, in elements; 0 where sequences or heads share lists
  listed_counts_head: u32,
  listed_counts_row: u32,
  listed_indices_base: u32,
  listed_indices_sequence: u32,
  listed_indices_head: u32,
  listed_indices_row: u32,
  full_width: u32,
  full_counts_base: u32,
  full_counts_sequence: u32,
  full_counts_head: u32,
  full_counts_row: u32,
  full_indices_base: u32,
  full_indices_sequence: u32,
  full_indices_head: u32,
  full_indices_row: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> listed_counts: array<i32>;
@group(0) @binding(2) var<storage, read> listed_indices: array<i32>;
@group(0) @binding(3) var<storage, read> full_counts: array<i32>;
@group(0) @binding(5) var<storage, read> full_indices: array<i32>;

var<workgroup> bits: array<atomic<u32>, WG_SIZE>;   // of some words

@compute @workgroup_size(WG_SIZE)
fn gather_blocks(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = workgroup_id.y * grid.x + workgroup_id.x;
  if (row >= params.n_all_rows) { return; }
  for (var first_word = 0u; first_word < MANY; first_word += WG_SIZE) {
    if (first_word >= params.words) { break; }
    atomicStore(&bits[local], 0u);
    workgroupBarrier();
    mark_listed(row, first_word, local);
    if (params.has_full != 0u) { mark_full(row, first_word, local); }
    workgroupBarrier();
    write_bits(params.blocks_at, row, first_word, local);
    if (params.keeps_full != 0u) {
      atomicStore(&bits[local], 0u);
      workgroupBarrier();
      mark_full(row, first_word, local);
      workgroupBarrier();
      write_bits(params.full_blocks_at, row, first_word, local);
    }
  }
}

fn write_bits(at: u32, row: u32, first_word: u32, local: u32) {
  let word = first_word + local;
  if (word < params.words) { gathered[at + row * params.words + word] = atomicLoad(&bits[local]); }
}

// A row of bits, by its place among those of its sequence and head.
struct Row {
  sequence: u32,
  head: u32,
  index: u32,
}

fn row_of(row: u32) -> Row {
  let of_sequence = params.n_heads * params.n_rows;
  return Row(row / of_sequence, row / params.n_rows % params.n_heads, row % params.n_rows);
}

// Where the lists of a row are, given where the first ones are and the strides.
fn place_of(row: u32, base: u32, of_sequence: u32, of_head: u32, of_row: u32) -> u32 {
  let place = row_of(row);
  return base + place.sequence * of_sequence + place.head * of_head + place.index * of_row;
}

// How many entries of a list count.
fn within(count: i32, width: u32) -> u32 {
  return min(u32(max(count, 0)), width);
}

fn mark_listed(row: u32, first_word: u32, local: u32) {
  let count_at = place_of(
    row, params.listed_counts_base, params.listed_counts_sequence, params.listed_counts_head, params.listed_counts_row,
  );
  let indices_at = place_of(
    row, params.listed_indices_base, params.listed_indices_sequence, params.listed_indices_head, params.listed_indices_row,
  );
  let count = within(listed_counts[count_at], params.listed_width);
  for (var i = local; i < MANY; i += WG_SIZE) {
    if (i >= count) { break; }
    mark(listed_indices[indices_at + i], first_word);
  }
}

fn mark_full(row: u32, first_word: u32, local: u32) {
  let count_at = place_of(
    row, params.full_counts_base, params.full_counts_sequence, params.full_counts_head, params.full_counts_row,
  );
  let indices_at = place_of(
    row, params.full_indices_base, params.full_indices_sequence, params.full_indices_head, params.full_indices_row,
  );
  let count = within(full_counts[count_at], params.full_width);
  for (var i = local; i < MANY; i += WG_SIZE) {
    if (i >= count) { break; }
    mark(full_indices[indices_at + i], first_word);
  }
}

fn mark(block: i32, first_word: u32) {
  // Below 0 it is beyond all of them.
  let column = u32(block);
  if (column >= params.n_columns || column / 32u - first_word >= WG_SIZE) { return; }
  atomicOr(&bits[column / 32u - first_word], 1u << (column % 32u));
}
