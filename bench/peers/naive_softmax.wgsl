// naive_softmax: turn each row of scores into weights that sum to 1, in place.
//
//   inout  scores  [batch × n_heads, q_len, k_len]  f32
//   in     k_lens  [batch]                          u32   keys of each sequence, with RAGGED; otherwise all have k_len
//
// One workgroup per row; its invocations stride over the keys and reduce in workgroup memory.
//
// Stages: 1 largest score   2 exponentials and their sum   3 divide

const WG_SIZE = 64u;

struct Params {
  n_heads: u32,
  q_len: u32,
  k_len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> scores: array<f32>;
@if(RAGGED) @group(0) @binding(4) var<storage, read> k_lens: array<u32>;

var<workgroup> partial: array<f32, WG_SIZE>;

@compute @workgroup_size(WG_SIZE)
fn naive_softmax(@builtin(workgroup_id) workgroup_id: vec3u, @builtin(local_invocation_index) local: u32) {
  let query = workgroup_id.x;
  let row = (workgroup_id.y * params.q_len + query) * params.k_len;
  @if(RAGGED)  let n_keys = k_lens[workgroup_id.y / params.n_heads];
  @if(!RAGGED) let n_keys = params.k_len;

  var largest = -1e30;
  for (var key = local; key < n_keys; key += WG_SIZE) { largest = max(largest, scores[row + key]); }
  partial[local] = largest;
  workgroupBarrier();
  for (var width = WG_SIZE / 2u; width > 0u; width /= 2u) {
    if (local < width) { partial[local] = max(partial[local], partial[local + width]); }
    workgroupBarrier();
  }
  largest = partial[0];
  workgroupBarrier();  // every invocation has read the maximum before sums overwrite it

  var sum = 0.0;
  for (var key = local; key < n_keys; key += WG_SIZE) {
    let weight = exp(scores[row + key] - largest);
    scores[row + key] = weight;
    sum += weight;
  }
  partial[local] = sum;
  workgroupBarrier();
  for (var width = WG_SIZE / 2u; width > 0u; width /= 2u) {
    if (local < width) { partial[local] += partial[local + width]; }
    workgroupBarrier();
  }

  let share = 1.0 / max(partial[0], 1e-30);
  for (var key = local; key < n_keys; key += WG_SIZE) { scores[row + key] *= share; }
}
