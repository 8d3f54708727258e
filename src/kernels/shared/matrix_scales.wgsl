// matrix_scales: the scales of the keys and values of a tile of i8, by which attn_matrix multiplies scores and weights, so that
// matrices multiply codes, which are exact.
//
// A row's base follows the bounds of its weights times scales rather than its scores: what is multiplied by codes has the whole
// range of f16 in every row, whatever the scales of keys that the row does not see.
//
// Between `put_scales` and the use of its tile there must be a barrier.
//
// Variants:
//   KV_I8       see octets

import package::shared::attention::Job;
@if(KV_I8) import package::shared::key_offsets::Slot;
@if(KV_I8) import package::shared::kv_scales::{StoredScale, k_scale_of, v_scale_of, scale_from};
import constants::{WG_SIZE, TILE_KEYS, LOOKUPS};

// Those of a key and of its value.
@if(KV_I8) struct KeyScales {
  k: StoredScale,
  v: StoredScale,
}

// Of four neighbouring keys each.
@if(KV_I8) var<workgroup> k_scales: array<vec4f, TILE_KEYS / 4>;
@if(KV_I8) var<workgroup> v_scales: array<vec4f, TILE_KEYS / 4>;
@if(KV_I8) var<workgroup> v_bounds: array<vec4f, TILE_KEYS / 4>;  // log2 of powers of two that are larger

// Scales below 2^-90 count as that where a base is chosen: so sums of weights stay within the range of f32.
const SMALLEST_EXPONENT = 127u - 90u;

// Loads the scales of the key in a slot, which has place `tile_key` in its tile.
@if(KV_I8) fn load_scales(job: Job, slot: Slot, tile_key: u32) -> KeyScales {
  if (LOOKUPS * WG_SIZE > TILE_KEYS && tile_key >= TILE_KEYS) { return KeyScales(); }
  return KeyScales(k_scale_of(slot, job.kv_head, 0u), v_scale_of(slot, job.kv_head, 0u));
}

// All invocations must come here: one of four writes for its neighbours, too.
@if(KV_I8) fn put_scales(tile_key: u32, scales: KeyScales) {
  let v_scale = scale_from(scales.v);
  let exponent = (bitcast<u32>(v_scale) >> 23u) & 0xffu;
  let k = quad_of_lanes(scale_from(scales.k));
  let v = quad_of_lanes(v_scale);
  let bounds = quad_of_lanes(f32(max(exponent, SMALLEST_EXPONENT)) - 126.0);
  if (tile_key % 4u == 0u && tile_key < TILE_KEYS) {
    k_scales[tile_key / 4u] = k;
    v_scales[tile_key / 4u] = v;
    v_bounds[tile_key / 4u] = bounds;
  }
}

// What a lane, the first of four, and those after it have.
@if(KV_I8) fn quad_of_lanes(own: f32) -> vec4f {
  return vec4f(own, subgroupShuffleXor(own, 1u), subgroupShuffleXor(own, 2u), subgroupShuffleXor(own, 3u));
}

// Weights of four neighbouring keys, times the scales of their values. A key that is hidden may have any scale.
@if(KV_I8) fn scaled_weights(p: vec4f, quad: u32) -> vec4f {
  let scaled = p * v_scales[quad];
  @if(HIDES)  return select(vec4f(), scaled, p != vec4f());
  @if(!HIDES) return scaled;
}
