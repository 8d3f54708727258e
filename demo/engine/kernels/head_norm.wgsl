// head_norm: each head of queries and keys divided by its root mean square, times a weight, in place.
//
//   in      row_count  u32
//   in      weights    [2, HEAD_DIM]         f32   of queries, then of keys
//   in out  qkv        [rows, ROW_PAIRS]           pairs of neighbours: see load_pair; heads of q, of k, then v
//
//   y = x / sqrt(mean(x²) + EPSILON) · weight     ADDS_ONE: 1 + weight in place of weight
//
// One workgroup per head of a row; lane i owns pairs i, i + LANES, …
//
// Stages: 1 sum of squares   2 write

override HEAD_DIM: u32;
override N_HEADS: u32;
override ROW_PAIRS: u32;
override EPSILON: f32;
override ADDS_ONE: u32;
const LANES = 64u;

@group(0) @binding(0) var<uniform> row_count: u32;
@group(0) @binding(1) var<storage, read> weights: array<f32>;

var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn head_norm(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
  let head = workgroup.x;
  let row = workgroup.y;
  if (row >= row_count) { return; }
  let first = row * ROW_PAIRS + head * HEAD_DIM / 2u;
  let first_weight = select(0u, HEAD_DIM, head >= N_HEADS);

  var sum = 0.0;
  for (var i = lane; i < HEAD_DIM / 2u; i += LANES) {
    let pair = load_pair(first + i);
    sum += dot(pair, pair);
  }
  sums[lane] = sum;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { sums[lane] += sums[lane + half]; }
  }
  workgroupBarrier();
  let scale = inverseSqrt(sums[0] / f32(HEAD_DIM) + EPSILON);

  for (var i = lane; i < HEAD_DIM / 2u; i += LANES) {
    let at = first_weight + 2u * i;
    let factor = vec2f(weights[at], weights[at + 1u]) + f32(ADDS_ONE);
    store_pair(first + i, load_pair(first + i) * scale * factor);
  }
}
