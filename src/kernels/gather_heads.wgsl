// gather_heads: writes the slopes, sinks and scales of batch_info where any of them is on the GPU, and where the host knows
// all lengths what depends on these.
//
//   in   slopes      [B or 1, n_heads]  f32, or packed halves
//   in   sinks       [n_heads]          f32, or packed halves
//   in   k_scales    [n_kv_heads or 1]  f32
//   in   v_scales    [n_kv_heads or 1]  f32
//   in   sequences   Sequence [B]       only if has_sequences: where the host knows all lengths
//   in   items       [n_item_words]     u32; none where gather_lengths copies them
//   out  gathered    Sequence [B], slopes, sinks, scales of keys, scales of values, ..., items; see batch_info
//
// One invocation writes one word, of those that are here.

import package::shared::batch_info::gathered;
import package::shared::elements::{F16, word_of, number_from, MINUS_INFINITY};

const WG_SIZE = 64u;
const F16_MINUS_INFINITY = 0xfc00u;

struct Params {
  has_sequences: u32,
  slopes_at: u32,         // first slope in batch_info
  n_heads: u32,
  n_slopes: u32,
  slopes_base: u32,
  slopes_row: u32,
  slopes_type: u32,       // F32, F16 or BF16
  n_sinks: u32,
  sinks_base: u32,
  sinks_type: u32,
  n_scales: u32,          // kv heads, if they have scales
  k_scales_base: u32,
  k_scales_step: u32,     // 0: one for all heads
  v_scales_base: u32,
  v_scales_step: u32,
  item_word: u32,         // the first word of the items in batch_info
  n_item_words: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> slopes: array<u32>;
@group(0) @binding(2) var<storage, read> sinks: array<u32>;
@group(0) @binding(3) var<storage, read> sequences: array<u32>;      // Sequence [B]
@group(0) @binding(5) var<storage, read> k_scales: array<u32>;   // the bits of f32
@group(0) @binding(6) var<storage, read> v_scales: array<u32>;
@group(0) @binding(7) var<storage, read> items: array<u32>;

@compute @workgroup_size(WG_SIZE)
fn gather_heads(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let word = (workgroup_id.y * grid.x + workgroup_id.x) * WG_SIZE + local;
  if (word < params.slopes_at) {
    if (params.has_sequences != 0u) { gathered[word] = sequences[word]; }
    return;
  }
  let slope = word - params.slopes_at;
  if (slope < params.n_slopes) {
    gathered[word] = slope_bits(slope);
    return;
  }
  let sink = slope - params.n_slopes;
  if (sink < params.n_sinks) {
    gathered[word] = sink_bits(sink);
    return;
  }
  let head = sink - params.n_sinks;
  if (head < params.n_scales) {
    gathered[word] = k_scales[params.k_scales_base + head * params.k_scales_step];
    return;
  }
  if (head < 2u * params.n_scales) {
    gathered[word] = v_scales[params.v_scales_base + (head - params.n_scales) * params.v_scales_step];
    return;
  }
  let item_word = head - 2u * params.n_scales;
  if (item_word < params.n_item_words) { gathered[params.item_word + item_word] = items[item_word]; }
}

fn slope_bits(slope: u32) -> u32 {
  let at = params.slopes_base + slope / params.n_heads * params.slopes_row + slope % params.n_heads;
  return bitcast<u32>(number_from(slopes[word_of(at, params.slopes_type)], at, params.slopes_type));
}

fn sink_bits(sink: u32) -> u32 {
  let at = params.sinks_base + sink;
  let word = sinks[word_of(at, params.sinks_type)];
  // The -inf of a head without a sink is copied as bits: arithmetic must not meet it.
  if (params.sinks_type == F16 && ((word >> (at % 2u * 16u)) & 0xffffu) == F16_MINUS_INFINITY) { return MINUS_INFINITY; }
  return bitcast<u32>(number_from(word, at, params.sinks_type));
}
