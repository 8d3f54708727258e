// naive_scores: the first of three dispatches of naive attention. It writes the score of every query and key to memory.
//
//   in   q        [rows, N_HEADS, HEAD_DIM]                 f32 or f16
//   in   k_cache  [slots, CAPACITY, N_KV_HEADS, HEAD_DIM]   as q
//   out  scores   [chunk rows, N_HEADS, n_keys]             f32, for each chunk
//
//   score = SOFTCAP tanh(SCALE q.k / SOFTCAP), or SCALE q.k where SOFTCAP is 0
//
// An invocation per score: x the key, y the row and head of a chunk, z the chunk. Keys that the query does not see are
// left out.

override SCALE: f32;
override SOFTCAP: f32;

@group(0) @binding(0) var<uniform> first_chunk: u32;
@group(0) @binding(1) var<storage, read> chunks: array<Chunk>;
@group(0) @binding(2) var<storage, read> q: array<Pair>;
@group(0) @binding(3) var<storage, read> k_cache: array<Pair>;
@group(0) @binding(4) var<storage, read_write> scores: array<f32>;

@compute @workgroup_size(WG_SIZE)
fn naive_scores(@builtin(global_invocation_id) id: vec3u) {
  let chunk = chunks[first_chunk + id.z];
  let key = id.x;
  let row = id.y / N_HEADS;
  let head = id.y % N_HEADS;
  let position = chunk.first_position + row;
  if (row >= chunk.n_rows || key > position || key < first_key(position)) { return; }

  let q_base = ((chunk.first_row + row) * N_HEADS + head) * (HEAD_DIM / 2u);
  let k_base = key_base(chunk.slot, key, head / (N_HEADS / N_KV_HEADS));
  var sum = 0.0;
  for (var pair = 0u; pair < HEAD_DIM / 2u; pair++) {
    sum += dot(unpacked(q[q_base + pair]), unpacked(k_cache[k_base + pair]));
  }
  scores[chunk.scores_base + id.y * chunk.n_keys + key] = capped(SCALE * sum);
}

fn capped(score: f32) -> f32 {
  if (SOFTCAP == 0.0) { return score; }
  // tanh(x) = 1 - 2 / (e^2x + 1). Drivers' own is less precise. At 20 it is 1, and e^40 is no overflow.
  let x = clamp(score / SOFTCAP, -20.0, 20.0);
  return SOFTCAP * (1.0 - 2.0 / (exp(2.0 * x) + 1.0));
}
