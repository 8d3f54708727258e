// naive_weighted_sum: the third of three dispatches of naive attention. It sums values by the weights of their keys.
//
//   in   scores   [chunk rows, N_HEADS, n_keys]             f32, for each chunk: weights
//   in   v_cache  [slots, CAPACITY, N_KV_HEADS, HEAD_DIM]   f32 or f16
//   out  out      [rows, N_HEADS, HEAD_DIM]                 as v_cache
//
// An invocation per pair of outputs: x the pair in its row, y the row of a chunk, z the chunk.

@group(0) @binding(0) var<uniform> first_chunk: u32;
@group(0) @binding(1) var<storage, read> chunks: array<Chunk>;
@group(0) @binding(2) var<storage, read> scores: array<f32>;
@group(0) @binding(3) var<storage, read> v_cache: array<Pair>;
@group(0) @binding(4) var<storage, read_write> out: array<Pair>;

@compute @workgroup_size(WG_SIZE)
fn naive_weighted_sum(@builtin(global_invocation_id) id: vec3u) {
  let chunk = chunks[first_chunk + id.z];
  let head = id.x / (HEAD_DIM / 2u);
  let pair = id.x % (HEAD_DIM / 2u);
  let row = id.y;
  if (row >= chunk.n_rows || head >= N_HEADS) { return; }
  let position = chunk.first_position + row;
  let begin = first_key(position);
  let scores_base = chunk.scores_base + (row * N_HEADS + head) * chunk.n_keys;
  let kv_head = head / (N_HEADS / N_KV_HEADS);

  var sum = vec2f(0.0);
  for (var i = 0u; i < MANY; i++) {
    let key = begin + i;
    if (key > position) { break; }
    sum += scores[scores_base + key] * unpacked(v_cache[key_base(chunk.slot, key, kv_head) + pair]);
  }
  out[((chunk.first_row + row) * N_HEADS + head) * (HEAD_DIM / 2u) + pair] = packed(sum);
}
