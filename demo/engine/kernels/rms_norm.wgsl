// rms_norm: rows divided by their root mean square, times a weight.
//
//   in   row_count  u32
//   in   x          [x rows, SIZE]  f32
//   in   weight     [SIZE]          f32
//   in   rows       [rows]          u32    which row of x each row of y is of; with HAS_ROWS
//   out  y          [rows, SIZE]    f32
//
//   y = x / sqrt(mean(x²) + EPSILON) · weight     ADDS_ONE: 1 + weight in place of weight     ADDS: y += in place of y =
//
// One workgroup per row; lane i owns elements i, i + LANES, …
//
// Stages: 1 sum of squares   2 write

override SIZE: u32;
override EPSILON: f32;
override ADDS_ONE: u32;
override ADDS: u32;
override HAS_ROWS: u32;
const LANES = 256u;

@group(0) @binding(0) var<uniform> row_count: u32;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> rows: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn rms_norm(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = workgroup.x;
  if (row >= row_count) { return; }
  let source = select(row, rows[min(row, arrayLength(&rows) - 1u)], HAS_ROWS != 0u);

  var sum = 0.0;
  for (var i = lane; i < SIZE; i += LANES) {
    let value = x[source * SIZE + i];
    sum += value * value;
  }
  sums[lane] = sum;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { sums[lane] += sums[lane + half]; }
  }
  workgroupBarrier();
  let scale = inverseSqrt(sums[0] / f32(SIZE) + EPSILON);

  for (var i = lane; i < SIZE; i += LANES) {
    let factor = weight[i] + f32(ADDS_ONE);
    let normed = x[source * SIZE + i] * scale * factor;
    let at = row * SIZE + i;
    y[at] = select(normed, y[at] + normed, ADDS != 0u);
  }
}
