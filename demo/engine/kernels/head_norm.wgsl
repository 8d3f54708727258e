// head_norm: RMSNorm of each query head and each key head, in place.
//
//   in      row_count  u32
//   in      q_weight   [4 HEAD_QUADS]              f32    of the first N_Q_HEADS heads
//   in      k_weight   [4 HEAD_QUADS]              f32    of the others up to N_HEADS
//   in/out  qkv        [row_count, 4 ROW_QUADS]    f32 | f16    elements/heads_*; the values behind the keys stay
//
// x = x / sqrt(mean(x²) + EPSILON) · (WEIGHT_OFFSET + weight) for each head x.
//
// Workgroup (i, row) has TEAMS heads of a row; the LANES of a team share a head.
//
// Stages: 1 sum of squares   2 sum of the lanes   3 write

override N_Q_HEADS: u32;
override N_HEADS: u32;        // query heads and key heads
override HEAD_QUADS: u32;
override ROW_QUADS: u32;
override LANES: u32;
override TEAMS: u32;
override EPSILON: f32;
override WEIGHT_OFFSET = 0.0;

override N_STEPS = (HEAD_QUADS + LANES - 1u) / LANES;

@group(0) @binding(0) var<uniform> row_count: u32;
@group(0) @binding(1) var<storage, read> q_weight: array<vec4f>;
@group(0) @binding(2) var<storage, read> k_weight: array<vec4f>;

var<workgroup> sums: array<f32, LANES * TEAMS>;

@compute @workgroup_size(LANES * TEAMS)
fn head_norm(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = local % LANES;
  let head = id.x * TEAMS + local / LANES;
  let row = id.y;
  if (row >= row_count) { return; }
  let first = row * ROW_QUADS + head * HEAD_QUADS;

  // 1 sum of squares
  var sum = 0.0;
  for (var step = 0u; step < N_STEPS; step++) {
    let quad = step * LANES + lane;
    // Not loaded and left out: others may write by then what is loaded here.
    if (head < N_HEADS && quad < HEAD_QUADS) {
      let four = read_quad(first + quad);
      sum += dot(four, four);
    }
  }

  // 2 sum of the lanes, by each of them
  sums[local] = sum;
  workgroupBarrier();
  let team_at = local - lane;
  var squares = 0.0;
  for (var i = 0u; i < LANES; i++) { squares += sums[team_at + i]; }
  let scale = 1.0 / sqrt(squares / f32(4u * HEAD_QUADS) + EPSILON);

  // 3 write
  if (head >= N_HEADS) { return; }
  for (var step = 0u; step < N_STEPS; step++) {
    let quad = step * LANES + lane;
    if (quad >= HEAD_QUADS) { break; }
    var weight = vec4f();
    if (head < N_Q_HEADS) { weight = q_weight[quad]; } else { weight = k_weight[quad]; }
    write_quad(first + quad, read_quad(first + quad) * scale * (weight + WEIGHT_OFFSET));
  }
}
