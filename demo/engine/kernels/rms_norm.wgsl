// rms_norm: each row divided by its root mean square, times a weight.
//
//   in   row_count  u32
//   in   x          [.., 4 N_QUADS]          f32    or y itself
//   in   weight     [4 N_QUADS]              f32
//   in   rows       [row_count]              u32    row i of y is of row rows[i] of x; without it, of row i
//   out  y          [row_count, 4 N_QUADS]   f32
//
// y = x / sqrt(mean(x²) + EPSILON) · (WEIGHT_OFFSET + weight), or with ADDS added to y.
//
// A workgroup has a row; invocation i has its quads i, i + WG_SIZE, ... It loads them twice: the second time they are in
// a cache.
//
// Stages: 1 sum of squares   2 sum of the invocations   3 write

override N_QUADS: u32;
override WG_SIZE: u32;    // a multiple of PARTS
override EPSILON: f32;
override WEIGHT_OFFSET = 0.0;
override ADDS = false;

const PARTS = 16u;
override N_STEPS = (N_QUADS + WG_SIZE - 1u) / WG_SIZE;

@group(0) @binding(0) var<uniform> row_count: u32;
@group(0) @binding(1) var<storage, read> weight: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

var<workgroup> sums: array<f32, WG_SIZE>;

@compute @workgroup_size(WG_SIZE)
fn rms_norm(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) local: u32) {
  let row = id.x;
  if (row >= row_count) { return; }
  let from_row = x_row(row);

  // 1 sum of squares, of loads that do not wait for each other
  var sum = 0.0;
  for (var step = 0u; step < N_STEPS; step++) {
    let quad = step * WG_SIZE + local;
    // Not loaded and left out: in place, others may write by then what is loaded here.
    if (quad < N_QUADS) {
      let four = x_quad(from_row, quad);
      sum += dot(four, four);
    }
  }

  // 2 sum of the invocations: of some by each of PARTS, then of these by all
  sums[local] = sum;
  workgroupBarrier();
  if (local < PARTS) {
    for (var i = 1u; i < WG_SIZE / PARTS; i++) { sum += sums[local + i * PARTS]; }
    sums[local] = sum;
  }
  workgroupBarrier();
  var squares = 0.0;
  for (var i = 0u; i < PARTS; i++) { squares += sums[i]; }
  let scale = 1.0 / sqrt(squares / f32(4u * N_QUADS) + EPSILON);

  // 3 write
  for (var step = 0u; step < N_STEPS; step++) {
    let quad = step * WG_SIZE + local;
    if (quad >= N_QUADS) { break; }
    let result = x_quad(from_row, quad) * scale * (weight[quad] + WEIGHT_OFFSET);
    let at = row * N_QUADS + quad;
    if (ADDS) { y[at] += result; } else { y[at] = result; }
  }
}
