// octets: reads queries, keys and values, eight neighbouring elements at a time: 16 bytes of halves, twice 16 of f32.
//
// Variants:
//   Q_F16, Q_BF16, KV_F16, KV_BF16   how q, k and v are stored; with Q_HALVES, KV_HALVES; none: f32
//   Q_WIDE, KV_WIDE                  rows allow 16-byte reads; else element by element

@if(Q_F16)   import package::shared::elements::{quad_from_f16 as quad_from_q, half_from_f16 as half_from_q};
@if(Q_BF16)  import package::shared::elements::{quad_from_bf16 as quad_from_q, half_from_bf16 as half_from_q};
@if(KV_F16)  import package::shared::elements::{quad_from_f16 as quad_from_kv, half_from_f16 as half_from_kv};
@if(KV_BF16) import package::shared::elements::{quad_from_bf16 as quad_from_kv, half_from_bf16 as half_from_kv};

@if(Q_WIDE)  @group(0) @binding(1) var<storage, read> q: array<vec4u>;
@else        @group(0) @binding(1) var<storage, read> q: array<u32>;
@if(KV_WIDE) @group(0) @binding(2) var<storage, read> k: array<vec4u>;
@else        @group(0) @binding(2) var<storage, read> k: array<u32>;
@if(KV_WIDE) @group(0) @binding(3) var<storage, read> v: array<vec4u>;
@else        @group(0) @binding(3) var<storage, read> v: array<u32>;

struct Octet {
  low: vec4f,
  high: vec4f,
}

// The eight elements from `at` on; those beyond the `left` that the row still has are zeros.
fn q_octet(at: u32, left: u32) -> Octet {
  @if(Q_WIDE && !Q_HALVES) return Octet(bitcast<vec4f>(q[at / 4u]), bitcast<vec4f>(select(vec4u(), q[at / 4u + 1u], left > 4u)));
  @if(Q_WIDE && Q_HALVES)  { let words = q[at / 8u]; return Octet(quad_from_q(words.xy), quad_from_q(words.zw)); }
  @if(!Q_WIDE) return Octet(
    vec4f(q_element(at, left, 0u), q_element(at, left, 1u), q_element(at, left, 2u), q_element(at, left, 3u)),
    vec4f(q_element(at, left, 4u), q_element(at, left, 5u), q_element(at, left, 6u), q_element(at, left, 7u)),
  );
}

// The same for keys and values. They are written out, since not every WebGPU lets a function take a pointer to a storage
// buffer.
fn k_octet(at: u32, left: u32) -> Octet {
  @if(KV_WIDE && !KV_HALVES) return Octet(bitcast<vec4f>(k[at / 4u]), bitcast<vec4f>(select(vec4u(), k[at / 4u + 1u], left > 4u)));
  @if(KV_WIDE && KV_HALVES)  { let words = k[at / 8u]; return Octet(quad_from_kv(words.xy), quad_from_kv(words.zw)); }
  @if(!KV_WIDE) return Octet(
    vec4f(k_element(at, left, 0u), k_element(at, left, 1u), k_element(at, left, 2u), k_element(at, left, 3u)),
    vec4f(k_element(at, left, 4u), k_element(at, left, 5u), k_element(at, left, 6u), k_element(at, left, 7u)),
  );
}

fn v_octet(at: u32, left: u32) -> Octet {
  @if(KV_WIDE && !KV_HALVES) return Octet(bitcast<vec4f>(v[at / 4u]), bitcast<vec4f>(select(vec4u(), v[at / 4u + 1u], left > 4u)));
  @if(KV_WIDE && KV_HALVES)  { let words = v[at / 8u]; return Octet(quad_from_kv(words.xy), quad_from_kv(words.zw)); }
  @if(!KV_WIDE) return Octet(
    vec4f(v_element(at, left, 0u), v_element(at, left, 1u), v_element(at, left, 2u), v_element(at, left, 3u)),
    vec4f(v_element(at, left, 4u), v_element(at, left, 5u), v_element(at, left, 6u), v_element(at, left, 7u)),
  );
}

@if(!Q_WIDE) fn q_element(at: u32, left: u32, index: u32) -> f32 {
  if (index >= left) { return 0.0; }
  @if(!Q_HALVES) return bitcast<f32>(q[at + index]);
  @if(Q_HALVES)  return half_from_q(q[(at + index) / 2u], (at + index) % 2u == 1u);
}

@if(!KV_WIDE) fn k_element(at: u32, left: u32, index: u32) -> f32 {
  if (index >= left) { return 0.0; }
  @if(!KV_HALVES) return bitcast<f32>(k[at + index]);
  @if(KV_HALVES)  return half_from_kv(k[(at + index) / 2u], (at + index) % 2u == 1u);
}

@if(!KV_WIDE) fn v_element(at: u32, left: u32, index: u32) -> f32 {
  if (index >= left) { return 0.0; }
  @if(!KV_HALVES) return bitcast<f32>(v[at + index]);
  @if(KV_HALVES)  return half_from_kv(v[(at + index) / 2u], (at + index) % 2u == 1u);
}
