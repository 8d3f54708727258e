// naive_softmax: the second of three dispatches of naive attention. It makes each row of scores a row of weights.
//
//   in/out  scores   [chunk rows, N_HEADS, n_keys]   f32, for each chunk
//
//   weight = exp(score - max) / sum(exp(score - max))
//
// A workgroup per row of scores, of which a lane has every WG_SIZE-th: x the row and head of a chunk, y the chunk.
//
// Stages: 1 maximum   2 sum   3 write

@group(0) @binding(0) var<uniform> first_chunk: u32;
@group(0) @binding(1) var<storage, read> chunks: array<Chunk>;
@group(0) @binding(2) var<storage, read_write> scores: array<f32>;

// Below every score.
const LOWEST = -1e30;

var<workgroup> of_lanes: array<f32, WG_SIZE>;

@compute @workgroup_size(WG_SIZE)
fn naive_softmax(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let chunk = chunks[first_chunk + group.y];
  let row = group.x / N_HEADS;
  if (row >= chunk.n_rows) { return; }
  let position = chunk.first_position + row;
  let begin = first_key(position);
  let base = chunk.scores_base + group.x * chunk.n_keys;

  var largest = LOWEST;
  for (var step = 0u; step < MANY; step++) {
    let key = begin + step * WG_SIZE + lane;
    if (key > position) { break; }
    largest = max(largest, scores[base + key]);
  }
  of_lanes[lane] = largest;
  for (var level = 1u; level <= 6u; level++) {
    workgroupBarrier();
    let half = WG_SIZE >> level;
    if (lane < half) { of_lanes[lane] = max(of_lanes[lane], of_lanes[lane + half]); }
  }
  let row_max = workgroupUniformLoad(&of_lanes[0]);

  var sum = 0.0;
  for (var step = 0u; step < MANY; step++) {
    let key = begin + step * WG_SIZE + lane;
    if (key > position) { break; }
    sum += exp(scores[base + key] - row_max);
  }
  of_lanes[lane] = sum;
  for (var level = 1u; level <= 6u; level++) {
    workgroupBarrier();
    let half = WG_SIZE >> level;
    if (lane < half) { of_lanes[lane] += of_lanes[lane + half]; }
  }
  let row_sum = workgroupUniformLoad(&of_lanes[0]);

  for (var step = 0u; step < MANY; step++) {
    let key = begin + step * WG_SIZE + lane;
    if (key > position) { break; }
    scores[base + key] = exp(scores[base + key] - row_max) / row_sum;
  }
}
