// copy_pages: copies whole pages to other pages of the same pool, one pair after the other, in several pools at once.
//
//   in      pairs   [n_pairs]  PagePair
//   in      bases   [n_pools]            first unit of each pool
//   in-out  memory  [units]             all that lies between the first pool and the last; each is [pages, page_units]
//
// A unit is 16 bytes with WIDE, else a word. One invocation owns the same unit of every page of a pool: no other reads or
// writes these, so it copies them in the order of the pairs without a barrier.
//
// Variants:
//   WIDE   pages begin and end at multiples of 16 bytes

const WG_SIZE = 64u;

struct Params {
  n_pairs: u32,
  n_pools: u32,
  page_units: u32,
  page_stride: u32,      // units from one page to the next
  part_unit: u32,        // the unit of which only the low bits belong to the page; page_units if there is none
  part_mask: u32,        // these bits
}

struct PagePair {
  source: u32,
  destination: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pairs: array<PagePair>;
@group(0) @binding(2) var<storage, read> bases: array<u32>;
@if(WIDE)  @group(0) @binding(3) var<storage, read_write> memory: array<vec4u>;
@if(!WIDE) @group(0) @binding(3) var<storage, read_write> memory: array<u32>;

@compute @workgroup_size(WG_SIZE)
fn copy_pages(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let invocation = (workgroup_id.y * grid.x + workgroup_id.x) * WG_SIZE + local;
  let pool = invocation / params.page_units;
  if (pool >= params.n_pools) { return; }
  let unit = invocation % params.page_units;
  let first = bases[pool] + unit;
  for (var i = 0u; i < params.n_pairs; i++) {
    copy_unit(first + pairs[i].source * params.page_stride, first + pairs[i].destination * params.page_stride, unit);
  }
}

fn copy_unit(source: u32, destination: u32, unit: u32) {
  @if(!WIDE) {
    if (unit == params.part_unit) {
      memory[destination] = (memory[destination] & ~params.part_mask) | (memory[source] & params.part_mask);
      return;
    }
  }
  memory[destination] = memory[source];
}
