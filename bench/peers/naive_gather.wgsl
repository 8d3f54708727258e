// naive_gather: copy keys or values from their pages into contiguous rows for each sequence.
//
//   in   pages        [n_pages, page_size, token_units]   vec4u   16 bytes each of a token's heads
//   in   block_table  [batch, table_width]                u32     the page of each page_size keys
//   in   k_lens       [batch]                             u32
//   out  rows         [batch, k_len, token_units]         vec4u   only as many keys as the sequence has
//
// One invocation per 16 bytes: x goes over the keys of a sequence, y over sequences.

struct Params {
  token_units: u32,
  page_size: u32,
  table_width: u32,
  k_len: u32,          // rows per sequence, at least the longest one's keys
}

const WG_SIZE = 64u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pages: array<vec4u>;
@group(0) @binding(2) var<storage, read> block_table: array<u32>;
@group(0) @binding(3) var<storage, read> k_lens: array<u32>;
@group(0) @binding(4) var<storage, read_write> rows: array<vec4u>;

@compute @workgroup_size(WG_SIZE)
fn naive_gather(@builtin(global_invocation_id) id: vec3u) {
  let key = id.x / params.token_units;
  let unit = id.x % params.token_units;
  let sequence = id.y;
  if (key >= k_lens[sequence]) { return; }
  let page = block_table[sequence * params.table_width + key / params.page_size];
  let slot = page * params.page_size + key % params.page_size;
  rows[(sequence * params.k_len + key) * params.token_units + unit] = pages[slot * params.token_units + unit];
}
