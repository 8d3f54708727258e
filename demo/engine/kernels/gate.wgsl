// gate: act(gate) · up, element by element.
//
//   in   row_count  u32
//   in   gate_up    [row_count, 2, 4 N_QUADS]    f32    gates, then ups
//   out  y          [row_count, 4 N_QUADS]       f32
//
//   SILU        act(x) = x / (1 + exp(-x))
//   GELU_TANH   act(x) = x / 2 · (1 + tanh(u)) = x / (1 + exp(-2 u))   with u = √(2/π) · (x + 0.044715 x³)
//   GELU        act(x) = x / 2 · (1 + erf(x / √2))
//
// Workgroups (i, row) have 64 quads of a row each, an invocation one.

override N_QUADS: u32;
override ACTIVATION: u32;

const SILU = 0u;
const GELU_TANH = 1u;

@group(0) @binding(0) var<uniform> row_count: u32;
@group(0) @binding(1) var<storage, read> gate_up: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(64)
fn gate(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) local: u32) {
  let row = id.y;
  let quad = id.x * 64u + local;
  if (row >= row_count || quad >= N_QUADS) { return; }
  let at = row * 2u * N_QUADS + quad;
  y[row * N_QUADS + quad] = activation(gate_up[at]) * gate_up[at + N_QUADS];
}

// Far below 0 it is 0, even where x is -∞ and exp would overflow.
fn activation(x: vec4f) -> vec4f {
  if (ACTIVATION == SILU) { return select(x * sigmoid(x), vec4f(), x < vec4f(-87.0)); }
  if (ACTIVATION == GELU_TANH) {
    // Beyond 10 it is x, and the cube of a large x would overflow.
    let c = clamp(x, vec4f(-10.0), vec4f(10.0));
    return select(x * sigmoid(1.5957691216 * (c + 0.044715 * c * c * c)), vec4f(), x < vec4f(-10.0));
  }
  return select(x * normal_distribution(x), vec4f(), x < vec4f(-10.0));
}

fn sigmoid(x: vec4f) -> vec4f {
  return 1.0 / (1.0 + exp(-max(x, vec4f(-87.0))));
}

// (1 + erf(x / √2)) / 2, by Abramowitz and Stegun 7.1.26 within 1e-7.
fn normal_distribution(x: vec4f) -> vec4f {
  let z = min(abs(x) * 0.7071067812, vec4f(9.0));
  let t = 1.0 / (1.0 + 0.3275911 * z);
  let polynomial = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  let upper = 0.5 * polynomial * exp(-z * z);
  return select(1.0 - upper, upper, x < vec4f());
}
