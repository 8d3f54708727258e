// gate: the gated activation of a feed-forward network.
//
//   in   row_count  u32
//   in   gate_up    [rows, 2, SIZE]  f32   gate, then up
//   out  y          [rows, SIZE]     f32
//
//   y = act(gate) · up     silu: g / (1 + e^-g)     GELU: g/2 · (1 + tanh(√(2/π) · (g + 0.044715 g³)))
//
// One invocation per element.

override SIZE: u32;
override GELU: u32;

@group(0) @binding(0) var<uniform> row_count: u32;
@group(0) @binding(1) var<storage, read> gate_up: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn gate(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  let row = id.y;
  if (i >= SIZE || row >= row_count) { return; }
  let g = gate_up[row * 2u * SIZE + i];
  let up = gate_up[(row * 2u + 1u) * SIZE + i];
  y[row * SIZE + i] = up * select(silu(g), gelu(g), GELU != 0u);
}

fn silu(g: f32) -> f32 {
  return g / (1.0 + exp(-max(g, -87.0)));
}

// Beyond 10, tanh is 1, and some implementations of it overflow.
fn gelu(g: f32) -> f32 {
  return 0.5 * g * (1.0 + tanh(clamp(0.7978845608 * (g + 0.044715 * g * g * g), -10.0, 10.0)));
}
