// kv_scales: the scales of a quantised cache. An element of a key or value is its code times a scale.
//
//   in   k_scale   i8 [tokens or pages × page_size, n_kv_heads], i4 [..., head_dim / 32], f32 or packed f16; any strides
//   in   v_scale   likewise, with head_dim_v
//
// Scales of e4m3 are those of a kv head, at the end of batch_info.
//
// A key that no row sees has the scale of the nearest one that is seen, as it has its codes: slots which were never written
// may hold anything.
//
// Variants:
//   KV_SCALES                    i8 and i4
//   SCALES_F16                   how scales are stored; else f32
//   KV_I8, KV_I4, KV_E4M3        see octets
//   SCALE_OFFSETS                see key_offsets

import package::shared::attention::params;
import package::shared::band::Band;
import package::shared::batch_info::{Sequence, batch_info};
@if(KV_SCALES) import package::shared::elements::half_from_f16;
@if(KV_E4M3) import package::shared::elements::E4M3_UNIT;
import package::shared::key_offsets::{Slot, is_in_pool, k_scale_offset, v_scale_offset};

@if(KV_SCALES) @group(0) @binding(9) var<storage, read> k_scale: array<u32>;
@if(KV_SCALES) @group(0) @binding(10) var<storage, read> v_scale: array<u32>;

// Elements that share a scale.
const GROUP = 32u;

// A scale as it is stored. One that is loaded ahead waits so until it is used: whatever looks at it would wait for it.
@if(KV_SCALES) struct StoredScale {
  word: u32,
  @if(SCALES_F16) is_odd: bool,   // which half of the word it is
  is_there: bool,                 // else it is 0
}

@if(KV_SCALES) fn scale_from(stored: StoredScale) -> f32 {
  @if(SCALES_F16)  let scale = half_from_f16(stored.word, stored.is_odd);
  @if(!SCALES_F16) let scale = bitcast<f32>(stored.word);
  return select(0.0, scale, stored.is_there);
}

@if(KV_SCALES) fn k_scale_at(at: u32) -> StoredScale {
  @if(SCALES_F16)  return StoredScale(k_scale[at / 2u], at % 2u == 1u, true);
  @if(!SCALES_F16) return StoredScale(k_scale[at], true);
}

@if(KV_SCALES) fn v_scale_at(at: u32) -> StoredScale {
  @if(SCALES_F16)  return StoredScale(v_scale[at / 2u], at % 2u == 1u, true);
  @if(!SCALES_F16) return StoredScale(v_scale[at], true);
}

// The scale of a key in a slot; of one that the pool does not have, some other one. `group` is that of GROUP elements.
@if(KV_SCALES) fn k_scale_of(slot: Slot, kv_head: u32, group: u32) -> StoredScale {
  let page = select(0u, slot.page, is_in_pool(slot));
  let token = params.k_scale_base + page * params.k_scale_page + slot.offset * params.k_scale_token;
  return k_scale_at(token + kv_head * params.k_scale_head + group);
}

// The scale of a value in a slot; 0 of one that the pool does not have, since its weight, 0, does not hide a NaN.
@if(KV_SCALES) fn v_scale_of(slot: Slot, kv_head: u32, group: u32) -> StoredScale {
  let is_there = is_in_pool(slot);
  let page = select(0u, slot.page, is_there);
  let token = params.v_scale_base + page * params.v_scale_page + slot.offset * params.v_scale_token;
  var stored = v_scale_at(token + kv_head * params.v_scale_head + group);
  stored.is_there = is_there;
  return stored;
}

// The scale of a kv head.
@if(KV_E4M3) fn k_head_scale(kv_head: u32) -> f32 {
  return bitcast<f32>(batch_info[params.k_scales_at + kv_head]);
}

@if(KV_E4M3) fn v_head_scale(kv_head: u32) -> f32 {
  return bitcast<f32>(batch_info[params.v_scales_at + kv_head]);
}

// The scale of an octet of the key in place `tile_key` of a tile, of dims dim .. dim + 7.
@if(KV_SCALES) fn stored_key_scale(sequence: Sequence, kv_head: u32, seen: Band, tile: u32, tile_key: u32, dim: u32) -> StoredScale {
  let at = k_scale_offset(sequence, seen, tile, tile_key) + kv_head * params.k_scale_head;
  @if(KV_I8) return k_scale_at(at);
  @if(KV_I4) return k_scale_at(at + dim / GROUP);
}

// The same of a value that has a page.
@if(KV_SCALES) fn stored_value_scale(sequence: Sequence, kv_head: u32, seen: Band, tile: u32, tile_key: u32, dim: u32) -> StoredScale {
  let at = v_scale_offset(sequence, seen, tile, tile_key) + kv_head * params.v_scale_head;
  @if(KV_I8) return v_scale_at(at);
  @if(KV_I4) return v_scale_at(at + dim / GROUP);
}

// What such an octet's codes are to be multiplied by.
fn key_scale(sequence: Sequence, kv_head: u32, seen: Band, tile: u32, tile_key: u32, dim: u32) -> f32 {
  @if(KV_E4M3)   return k_head_scale(kv_head) * E4M3_UNIT;
  @if(KV_SCALES) return scale_from(stored_key_scale(sequence, kv_head, seen, tile, tile_key, dim));
}

fn value_scale(sequence: Sequence, kv_head: u32, seen: Band, tile: u32, tile_key: u32, dim: u32) -> f32 {
  @if(KV_E4M3)   return v_head_scale(kv_head) * E4M3_UNIT;
  @if(KV_SCALES) return scale_from(stored_value_scale(sequence, kv_head, seen, tile, tile_key, dim));
}
