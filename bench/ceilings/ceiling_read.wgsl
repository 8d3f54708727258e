// ceiling_read: read a buffer once, 16 bytes at a time; what is read leaves no trace, but no compiler knows that.
//
//   in   source  [n_workgroups, UNITS, WG_SIZE]  vec4u
//   out  found   [1]                          u32    written only if a sum of bits is one that does not come up
//
// Each workgroup reads a block of its own, one unit per invocation at a time.

import constants::{UNITS};

struct Params {
  n_workgroups: u32,
}

const WG_SIZE = 256u;
const NEVER = 0x5eed1e55u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> found: array<u32>;

@compute @workgroup_size(WG_SIZE)
fn ceiling_read(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  if (workgroup.x >= params.n_workgroups) { return; }
  let first = workgroup.x * UNITS * WG_SIZE + local;
  var bits = vec4u(0u);
  @unroll for (var i = 0u; i < UNITS; i++) { bits ^= source[first + i * WG_SIZE]; }
  if ((bits.x ^ bits.y ^ bits.z ^ bits.w) == NEVER) { found[0] = first; }
}
