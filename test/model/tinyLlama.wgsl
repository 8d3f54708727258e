// tinyLlama: what a Llama has besides attention, as plainly as it can be said.
//
// One invocation computes four neighbouring numbers of one token: quad x, token y. Matrices are [N_IN, N_OUT]. Numbers
// are always summed up in the same order, so the bits of a token depend on its own inputs only.

override N_IN: u32;
override N_OUT: u32;

@group(0) @binding(0) var<storage, read> tokens: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [tokens, N_IN]
@group(0) @binding(2) var<storage, read> gain: array<f32>;            // [N_IN]
@group(0) @binding(3) var<storage, read> matrix: array<vec4f>;        // [N_IN, N_OUT]
@group(0) @binding(4) var<storage, read> gate: array<vec4f>;          // [N_IN, N_OUT]
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;     // [tokens, N_OUT]

const WG_SIZE = 16;

// out = matrix[token]
@compute @workgroup_size(WG_SIZE)
fn embed(@builtin(global_invocation_id) id: vec3u) {
  let quads = N_OUT / 4;
  if (id.x < quads) { out[id.y * quads + id.x] = matrix[tokens[id.y] * quads + id.x]; }
}

// out = norm(x) matrix
@compute @workgroup_size(WG_SIZE)
fn norm_linear(@builtin(global_invocation_id) id: vec3u) {
  let quads = N_OUT / 4;
  if (id.x >= quads) { return; }
  var squares = 0.0;
  var sum = vec4f();
  for (var i = 0u; i < N_IN; i++) {
    let xi = x[id.y * N_IN + i];
    squares += xi * xi;
    sum += xi * gain[i] * matrix[i * quads + id.x];
  }
  out[id.y * quads + id.x] = sum * norm_scale(squares);
}

// out = silu(norm(x) gate) * norm(x) matrix
@compute @workgroup_size(WG_SIZE)
fn norm_gated(@builtin(global_invocation_id) id: vec3u) {
  let quads = N_OUT / 4;
  if (id.x >= quads) { return; }
  var squares = 0.0;
  var opening = vec4f();
  var sum = vec4f();
  for (var i = 0u; i < N_IN; i++) {
    let xi = x[id.y * N_IN + i];
    squares += xi * xi;
    opening += xi * gain[i] * gate[i * quads + id.x];
    sum += xi * gain[i] * matrix[i * quads + id.x];
  }
  opening *= norm_scale(squares);
  sum *= norm_scale(squares);
  out[id.y * quads + id.x] = opening / (1 + exp(-opening)) * sum;
}

// out += x matrix
@compute @workgroup_size(WG_SIZE)
fn add_linear(@builtin(global_invocation_id) id: vec3u) {
  let quads = N_OUT / 4;
  if (id.x >= quads) { return; }
  var sum = vec4f();
  for (var i = 0u; i < N_IN; i++) { sum += x[id.y * N_IN + i] * matrix[i * quads + id.x]; }
  out[id.y * quads + id.x] += sum;
}

// What brings the root mean square to one.
fn norm_scale(squares: f32) -> f32 {
  return inverseSqrt(squares / f32(N_IN) + 1e-5);
}
