// naive_scores: the score of every query with every key, written to memory.
//
//   in   q       [batch × q_len, n_heads, head_dim]      f32, or packed f16, bf16
//   in   k       [batch × k_len, n_kv_heads, head_dim]   likewise
//   in   k_lens  [batch]                                 u32    keys of each sequence, with RAGGED; otherwise all have k_len
//   out  scores  [batch, n_heads, q_len, k_len]          f32    MASKED where the query does not see the key
//
// One invocation per score, 8 × 8 of them in a workgroup: x is the key, y the query, z the sequence and head.

@if(F16)  import package::packed::{quad_from_f16 as quad_from};
@if(BF16) import package::packed::{quad_from_bf16 as quad_from};
import constants::{HEAD_QUADS};  // head_dim / 4

const MASKED = -1e30;

struct Params {
  n_heads: u32,
  group: u32,          // query heads per kv head
  q_len: u32,
  k_len: u32,
  window_left: i32,    // -1: no bound
  window_right: i32,
  scale: f32,
  softcap: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@if(F16 || BF16) @group(0) @binding(1) var<storage, read> q: array<vec2u>;
@else            @group(0) @binding(1) var<storage, read> q: array<vec4f>;
@if(F16 || BF16) @group(0) @binding(2) var<storage, read> k: array<vec2u>;
@else            @group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;
@if(RAGGED) @group(0) @binding(4) var<storage, read> k_lens: array<u32>;

@compute @workgroup_size(8, 8)
fn naive_scores(@builtin(global_invocation_id) id: vec3u) {
  let key = id.x;
  let query = id.y;
  let sequence = id.z / params.n_heads;
  @if(RAGGED)  let n_keys = k_lens[sequence];
  @if(!RAGGED) let n_keys = params.k_len;
  if (query >= params.q_len) { return; }
  if (key >= n_keys) { return; }
  let to = (id.z * params.q_len + query) * params.k_len + key;
  if (!is_visible(query, key, params.q_len, n_keys, params.window_left, params.window_right)) {
    scores[to] = MASKED;
    return;
  }

  let head = id.z % params.n_heads;
  let n_kv_heads = params.n_heads / params.group;
  let q_row = ((sequence * params.q_len + query) * params.n_heads + head) * HEAD_QUADS;
  let k_row = ((sequence * params.k_len + key) * n_kv_heads + head / params.group) * HEAD_QUADS;
  var sum = 0.0;
  for (var quad = 0u; quad < HEAD_QUADS; quad++) {
    @if(F16 || BF16) { sum += dot(quad_from(q[q_row + quad]), quad_from(k[k_row + quad])); }
    @else            { sum += dot(q[q_row + quad], k[k_row + quad]); }
  }
  var score = sum * params.scale;
  @if(SOFTCAP) { score = params.softcap * (1.0 - 2.0 / (exp(2.0 * clamp(score / params.softcap, -20.0, 20.0)) + 1.0)); }  // tanh
  scores[to] = score;
}

// Whether a query sees a key. Alignment is bottom right, as in causal order over a cache. A bound of -1 is no bound.
fn is_visible(query: u32, key: u32, q_len: u32, k_len: u32, window_left: i32, window_right: i32) -> bool {
  let distance = i32(key) - (i32(query) + i32(k_len) - i32(q_len));
  return (window_left < 0 || distance >= -window_left) && (window_right < 0 || distance <= window_right);
}
