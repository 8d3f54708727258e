// list_blocks: finds the blocks of keys that any query of a block sees by mask_mod, and those which all of them see.
//
//   out  lists  counts   [B, n_heads, rows]           i32   blocks of which some keys are seen, and at full_counts_at whole ones
//               indices  [B, n_heads, rows, columns]  i32   their numbers, rising, and at full_indices_at those of whole ones
//
// One workgroup takes a row: a block of queries of one head. It looks at one block of keys after another, of which its
// invocations take the pairs of a query and a key in turn.
//
// b is the sequence, h the query head; q is the position of a query, which is its index + n_keys - n_queries.

import package::shared::lanes::MANY;
import package::shared::mods::mask_mod;

const WG_SIZE = 64u;

struct Params {
  first_row: u32,         // of all rows, the first of this dispatch
  end_row: u32,           // one past its last
  n_heads: u32,
  n_rows: u32,
  n_columns: u32,
  n_queries: u32,         // of a sequence
  n_keys: u32,
  row_tokens: u32,        // queries of a block
  column_keys: u32,
  counts_at: u32,         // in lists
  full_counts_at: u32,
  indices_at: u32,
  full_indices_at: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> lists: array<i32>;

const SEEN = 1u;
const HIDDEN = 2u;

var<workgroup> found: array<atomic<u32>, 4>;   // the first: whether pairs of a block are seen, and whether some are hidden

@compute @workgroup_size(WG_SIZE)
fn list_blocks(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = params.first_row + workgroup_id.y * grid.x + workgroup_id.x;
  if (row >= params.end_row) { return; }
  var n_partial = 0u;
  var n_full = 0u;
  for (var column = 0u; column < MANY; column++) {
    if (column >= params.n_columns) { break; }
    if (local == 0u) { atomicStore(&found[0], 0u); }
    workgroupBarrier();
    atomicOr(&found[0], pairs_of(row, column, local));
    workgroupBarrier();
    if (local == 0u) {
      let kind = atomicLoad(&found[0]);
      let entry = row * params.n_columns;
      if (kind == SEEN) {
        lists[params.full_indices_at + entry + n_full] = i32(column);
        n_full++;
      } else if (kind == (SEEN | HIDDEN)) {
        lists[params.indices_at + entry + n_partial] = i32(column);
        n_partial++;
      }
    }
  }
  if (local == 0u) {
    lists[params.counts_at + row] = i32(n_partial);
    lists[params.full_counts_at + row] = i32(n_full);
  }
}

// What an invocation finds among its pairs of a block.
fn pairs_of(row: u32, column: u32, local: u32) -> u32 {
  let b = row / (params.n_heads * params.n_rows);
  let h = row / params.n_rows % params.n_heads;
  let first_query = row % params.n_rows * params.row_tokens;
  let first_key = column * params.column_keys;
  let n_queries = min(params.row_tokens, params.n_queries - first_query);
  let n_keys = min(params.column_keys, params.n_keys - first_key);
  let ahead = i32(params.n_keys) - i32(params.n_queries);
  var kind = 0u;
  for (var query = 0u; query < MANY; query++) {
    if (query >= n_queries) { break; }
    let q = i32(first_query + query) + ahead;
    for (var key = local; key < MANY; key += WG_SIZE) {
      if (key >= n_keys) { break; }
      kind |= select(HIDDEN, SEEN, mask_mod(b, h, q, i32(first_key + key)));
    }
  }
  return kind;
}
