// ceiling_fma: multiply and add f32 numbers in registers, CHAINS independent chains of four numbers in each invocation.
//
//   out  sums  [1]  vec4f   written only if a sum is one that does not come up
//
// Each invocation makes STEPS · UNROLLED · CHAINS · 4 multiply-adds.

import constants::{CHAINS, UNROLLED};

struct Params {
  factor: f32,   // below 1, so that no chain overflows
  addend: f32,
}

const WG_SIZE = 128u;
const STEPS = 32u;
const NEVER = -1.0;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> sums: array<vec4f>;

@compute @workgroup_size(WG_SIZE)
fn ceiling_fma(@builtin(global_invocation_id) id: vec3u) {
  let factor = vec4f(params.factor);
  let addend = vec4f(params.addend);
  @registers var chains: array<vec4f, CHAINS>;
  @unroll for (var i = 0u; i < CHAINS; i++) { chains[i] = vec4f(f32(id.x), f32(i), 1.0, 2.0); }
  for (var step = 0u; step < STEPS; step++) {
    @unroll for (var n = 0u; n < UNROLLED; n++) {
      @unroll for (var i = 0u; i < CHAINS; i++) { chains[i] = fma(chains[i], factor, addend); }
    }
  }
  var sum = vec4f(0.0);
  @unroll for (var i = 0u; i < CHAINS; i++) { sum += chains[i]; }
  if (sum.x + sum.y + sum.z + sum.w == NEVER) { sums[0] = sum; }
}
