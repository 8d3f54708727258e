// sample_mark: marks the tokens of each row's history, so that the repetition penalty finds them by a bit.
//
//   in   rows     [rows]  Row
//   in   history  [...]   u32          tokens that the host knows, row after row
//   in   ids      [...]   u32          tokens of this step
//   out  seen     [rows, seen_words]   bit shift + t: token t is in the history; all 0 before MARK, and after it again
//
// One workgroup per row, whose lanes take a token each. Tokens outside the vocabulary are ignored. Run again with
// MARK = 0 it clears the words that it had set, so that no pass over the vocabulary is needed.

override MARK: bool;

// The bound of a loop that breaks out earlier.
const MANY = 0x7fffffffu;

@group(0) @binding(2) var<storage, read> history: array<u32>;
@group(0) @binding(3) var<storage, read> ids: array<u32>;
@group(0) @binding(4) var<storage, read_write> seen: array<atomic<u32>>;

@compute @workgroup_size(WG_SIZE)
fn sample_mark(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = rows[group.x];
  if (row.penalised == 0u) { return; }
  for (var step = 0u; step < MANY; step++) {
    let i = step * WG_SIZE + lane;
    if (i >= max(row.history_count, row.ids_count)) { break; }
    if (i < row.history_count) { mark(group.x, history[row.history_first + i]); }
    if (i < row.ids_count) { mark(group.x, ids[row.ids_first + i]); }
  }
}

fn mark(row_index: u32, token: u32) {
  if (token >= shape.vocab) { return; }
  let bit = token + place_of(row_index).shift;
  let word = row_index * seen_words() + bit / 32u;
  if (MARK) {
    atomicOr(&seen[word], 1u << (bit % 32u));
  } else {
    atomicStore(&seen[word], 0u);
  }
}
