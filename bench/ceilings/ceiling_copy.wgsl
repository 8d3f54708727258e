// ceiling_copy: copy a buffer, 16 bytes at a time.
//
//   in   source  [n_workgroups, UNITS, WG_SIZE]  vec4u
//   out  copy    [n_workgroups, UNITS, WG_SIZE]  vec4u
//
// Each workgroup copies a block of its own, one unit per invocation at a time.

import constants::{UNITS};

struct Params {
  n_workgroups: u32,
}

const WG_SIZE = 256u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> copy: array<vec4u>;

@compute @workgroup_size(WG_SIZE)
fn ceiling_copy(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  if (workgroup.x >= params.n_workgroups) { return; }
  let first = workgroup.x * UNITS * WG_SIZE + local;
  @unroll for (var i = 0u; i < UNITS; i++) {
    let at = first + i * WG_SIZE;
    copy[at] = source[at];
  }
}
