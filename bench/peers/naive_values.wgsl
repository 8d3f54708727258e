// naive_values: the values of each head, summed by the weights of each query.
//
//   in   weights  [batch, n_heads, q_len, k_len]            f32
//   in   v        [batch × k_len, n_kv_heads, head_dim_v]   f32, or packed f16, bf16
//   in   k_lens   [batch]                                   u32    keys of each sequence, with RAGGED; otherwise all have k_len
//   out  out      [batch × q_len, n_heads, head_dim_v]      likewise
//
// One invocation per four neighbouring outputs, 8 × 8 of them in a workgroup: x is the four dims, y the query, z the
// sequence and head.

@if(F16)  import package::packed::{quad_from_f16 as quad_from, f16_from_quad as from_quad};
@if(BF16) import package::packed::{quad_from_bf16 as quad_from, bf16_from_quad as from_quad};
import constants::{HEAD_QUADS};  // head_dim_v / 4

struct Params {
  n_heads: u32,
  group: u32,          // query heads per kv head
  q_len: u32,
  k_len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@if(F16 || BF16) @group(0) @binding(2) var<storage, read> v: array<vec2u>;
@else            @group(0) @binding(2) var<storage, read> v: array<vec4f>;
@if(RAGGED) @group(0) @binding(4) var<storage, read> k_lens: array<u32>;
@if(F16 || BF16) @group(0) @binding(3) var<storage, read_write> out: array<vec2u>;
@else            @group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(8, 8)
fn naive_values(@builtin(global_invocation_id) id: vec3u) {
  let quad = id.x;
  let query = id.y;
  if (quad >= HEAD_QUADS || query >= params.q_len) { return; }

  let sequence = id.z / params.n_heads;
  let head = id.z % params.n_heads;
  let key_quads = params.n_heads / params.group * HEAD_QUADS;
  let first_value = sequence * params.k_len * key_quads + head / params.group * HEAD_QUADS + quad;
  let row = (id.z * params.q_len + query) * params.k_len;
  @if(RAGGED)  let n_keys = k_lens[sequence];
  @if(!RAGGED) let n_keys = params.k_len;
  var sum = vec4f();
  for (var key = 0u; key < n_keys; key++) {
    @if(F16 || BF16) { sum += weights[row + key] * quad_from(v[first_value + key * key_quads]); }
    @else            { sum += weights[row + key] * v[first_value + key * key_quads]; }
  }
  let to = ((sequence * params.q_len + query) * params.n_heads + head) * HEAD_QUADS + quad;
  @if(F16 || BF16) { out[to] = from_quad(sum); }
  @else            { out[to] = sum; }
}
