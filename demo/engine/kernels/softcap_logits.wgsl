// softcap_logits: logits become CAP · tanh(logit / CAP), in place.
//
//   in      row_count  u32
//   in out  x          [rows, SIZE]  f32
//
// One invocation per element.

override SIZE: u32;
override CAP: f32;

@group(0) @binding(0) var<uniform> row_count: u32;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(256)
fn softcap_logits(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= SIZE || id.y >= row_count) { return; }
  let at = id.y * SIZE + id.x;
  // Beyond 10, tanh is 1, and some implementations of it overflow.
  x[at] = CAP * tanh(clamp(x[at] / CAP, -10.0, 10.0));
}
