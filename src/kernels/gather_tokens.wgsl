// gather_tokens: writes positions and trees of query tokens into batch_info, where any of it or of the lengths is on the
// GPU. The `Sequence` records are there already.
//
//   in      positions   [position_rows, tokens]  i32   if position_rows is not 0
//   in      trees       [tokens, tree_words]     u32   if tree_words is not 0
//   in      starts      [B]                      i32   if has_starts: the first token of each sequence
//   in-out  gathered    Sequence [B], ..., TokenPlace [B], positions, trees, ...: see batch_info, token_masks
//
// One workgroup takes a sequence; its invocations take tokens in turn.
//
// With rotary tables, a sequence that has a position which these do not have, or more new tokens than queries, loses its
// keys, as gather_lengths has it, so that nothing of it is read or written. Other positions are clamped to where windows around them can be computed.

import package::shared::batch_info::gathered;
import package::shared::lanes::MANY;

const WG_SIZE = 64u;

struct Params {
  batch: u32,
  n_tokens: u32,          // of all sequences
  sequence_tokens: u32,   // without starts: of each sequence
  n_positions: u32,       // of the rotary tables; 0: nothing is rotated
  tokens_at: u32,         // in batch_info
  positions_at: u32,
  tree_at: u32,
  position_rows: u32,
  tree_words: u32,
  has_starts: u32,
  starts_base: u32,
  positions_base: u32,
  positions_row: u32,     // strides, in elements; sequences have one of their own in a dense batch only
  positions_sequence: u32,
  tree_base: u32,
  tree_sequence: u32,
  tree_token: u32,
  sequence_words: u32,    // of a Sequence, and which of them are read and written here
  q_len_word: u32,
  k_len_word: u32,
  first_key_word: u32,
  n_cached_word: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> positions: array<i32>;
@group(0) @binding(2) var<storage, read> trees: array<u32>;
@group(0) @binding(3) var<storage, read> starts: array<i32>;

const FARTHEST = 1073741823;   // 2^30 - 1

var<workgroup> flags: array<atomic<u32>, 4>;   // whether positions fall, and whether one is beyond the rotary tables

@compute @workgroup_size(WG_SIZE)
fn gather_tokens(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let b = workgroup_id.y * grid.x + workgroup_id.x;
  if (b >= params.batch) { return; }
  let record = b * params.sequence_words;
  let first = first_token_of(b);
  // As gather_lengths has it, within the tokens that there are.
  let n = min(gathered[record + params.q_len_word], params.n_tokens - first);
  if (local < 4u) { atomicStore(&flags[local], 0u); }
  // A bound of keys may leave fewer than were there before.
  let k_len = gathered[record + params.k_len_word];
  let n_new = k_len - min(k_len, gathered[record + params.n_cached_word]);
  workgroupBarrier();

  for (var step = 0u; step < MANY; step++) {
    let i = step * WG_SIZE + local;
    if (i >= n) { break; }
    copy_positions(b, first, i);
    copy_tree(b, first, i);
  }
  workgroupBarrier();

  if (local == 0u) {
    gathered[params.tokens_at + b * 2u] = first;
    gathered[params.tokens_at + b * 2u + 1u] = select(0u, 1u, atomicLoad(&flags[0]) == 0u);
    if (atomicLoad(&flags[1]) != 0u || (params.n_positions > 0u && n_new > n)) {
      gathered[record + params.k_len_word] = 0u;
      gathered[record + params.first_key_word] = 0u;
      gathered[record + params.n_cached_word] = 0u;
    }
  }
}

fn first_token_of(b: u32) -> u32 {
  if (params.has_starts == 0u) { return b * params.sequence_tokens; }
  return u32(clamp(starts[params.starts_base + b], 0, i32(params.n_tokens)));
}

fn copy_positions(b: u32, first: u32, i: u32) {
  for (var row = 0u; row < 3u; row++) {
    if (row >= params.position_rows) { break; }
    let position = position_at(row, b, first, i);
    gathered[params.positions_at + row * params.n_tokens + first + i] = bitcast<u32>(clamp(position, -FARTHEST, FARTHEST));
    if (i > 0u && position_at(row, b, first, i - 1u) > position) { atomicOr(&flags[0], 1u); }
    if (params.n_positions > 0u && u32(position) >= params.n_positions) { atomicOr(&flags[1], 1u); }
  }
}

fn position_at(row: u32, b: u32, first: u32, i: u32) -> i32 {
  return positions[params.positions_base + row * params.positions_row + place_of(b, first, i, params.positions_sequence, 1u)];
}

fn copy_tree(b: u32, first: u32, i: u32) {
  let at = params.tree_base + place_of(b, first, i, params.tree_sequence, params.tree_token);
  for (var word = 0u; word < MANY; word++) {
    if (word >= params.tree_words) { break; }
    gathered[params.tree_at + (first + i) * params.tree_words + word] = trees[at + word];
  }
}

// Where token i of a sequence is in a tensor, by the strides from sequence to sequence, and from token to token.
fn place_of(b: u32, first: u32, i: u32, sequence: u32, token: u32) -> u32 {
  if (params.has_starts == 0u) { return b * sequence + i * token; }
  return (first + i) * token;
}
