// softcap_logits: CAP · tanh(logit / CAP), in place.
//
//   in      row_count  u32
//   in/out  logits     [row_count, N_COLUMNS]    f32
//
// An invocation has four neighbours, of any rows: those behind the last row, up to three, belong to no row.

override CAP: f32;
override N_COLUMNS: u32;

@group(0) @binding(0) var<uniform> row_count: u32;
@group(0) @binding(1) var<storage, read_write> logits: array<vec4f>;

@compute @workgroup_size(64)
fn softcap_logits(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let quad = (id.y * grid.x + id.x) * 64u + local;
  if (quad >= (row_count * N_COLUMNS + 3u) / 4u) { return; }
  logits[quad] = CAP * tanh_of(logits[quad] / CAP);
}

// By an exponential that cannot overflow: WGSL allows tanh an error of 1e-5, which CAP multiplies.
fn tanh_of(x: vec4f) -> vec4f {
  let t = exp(-2.0 * abs(x));
  let positive = (1.0 - t) / (1.0 + t);
  return select(positive, -positive, x < vec4f());
}
