// copy_pages: whole pages to other pages of the same pool.
//
//   in      pairs  [n_pairs]  vec2u    (from, to); no page that is written is in another pair
//   in-out  pool   [pages, page_words]
//
// One invocation owns one word of one pair.

const WG_SIZE = 64u;

struct Params {
  n_pairs: u32,
  page_words: u32,
  base: u32,             // first word of the pool
  page_stride: u32,      // words from one page to the next
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pairs: array<vec2u>;
@group(0) @binding(2) var<storage, read_write> pool: array<u32>;

@compute @workgroup_size(WG_SIZE)
fn copy_pages(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let job = (workgroup_id.y * grid.x + workgroup_id.x) * WG_SIZE + local;
  let index = job / params.page_words;
  if (index >= params.n_pairs) { return; }
  let word = params.base + job % params.page_words;
  let pair = pairs[index];
  pool[word + pair.y * params.page_stride] = pool[word + pair.x * params.page_stride];
}
