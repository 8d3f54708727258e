// octets: reads queries, keys and values, eight neighbouring elements at a time: 16 bytes of halves, twice 16 of f32. Of a
// quantised cache these are the codes, in 8 bytes or 4: neighbours, which read neighbouring octets, still read whole lines
// of memory together. A value is a code times a scale, see kv_scales.
//
// Variants:
//   Q_F16, Q_BF16, KV_F16, KV_BF16   how q, k and v are stored; with Q_HALVES, KV_HALVES; none of all here: f32
//   KV_I8, KV_E4M3, KV_I4            how a quantised cache is stored; with KV_QUANTISED, and KV_BYTES but for KV_I4
//   Q_WIDE, KV_WIDE                  rows allow reads of octets; else element by element, or code words by shifts
//   K_QUADS, V_QUADS                 k or v is read 16 bytes at a time
//   K_PAIRS, V_PAIRS                 8 bytes at a time; else by words

@if(Q_F16)   import package::shared::elements::{quad_from_f16 as quad_from_q, half_from_f16 as half_from_q};
@if(Q_BF16)  import package::shared::elements::{quad_from_bf16 as quad_from_q, half_from_bf16 as half_from_q};
@if(KV_F16)  import package::shared::elements::{quad_from_f16 as quad_from_kv, half_from_f16 as half_from_kv};
@if(KV_BF16) import package::shared::elements::{quad_from_bf16 as quad_from_kv, half_from_bf16 as half_from_kv};
@if(KV_I8)   import package::shared::elements::quad_from_i8 as quad_from_codes;
@if(KV_I4)   import package::shared::elements::quad_from_i4 as quad_from_codes;
@if(KV_E4M3) import package::shared::elements::quad_from_e4m3 as quad_from_codes;

@if(Q_WIDE)  @group(0) @binding(1) var<storage, read> q: array<vec4u>;
@else        @group(0) @binding(1) var<storage, read> q: array<u32>;
@if(K_QUADS) @group(0) @binding(2) var<storage, read> k: array<vec4u>;
@if(K_PAIRS) @group(0) @binding(2) var<storage, read> k: array<vec2u>;
@if(!K_QUADS && !K_PAIRS) @group(0) @binding(2) var<storage, read> k: array<u32>;
@if(V_QUADS) @group(0) @binding(3) var<storage, read> v: array<vec4u>;
@if(V_PAIRS) @group(0) @binding(3) var<storage, read> v: array<vec2u>;
@if(!V_QUADS && !V_PAIRS) @group(0) @binding(3) var<storage, read> v: array<u32>;

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
  @if(KV_QUANTISED) return octet_of_codes(k_codes(at, left));
  @if(KV_WIDE && !KV_HALVES && !KV_QUANTISED) return Octet(bitcast<vec4f>(k[at / 4u]), bitcast<vec4f>(select(vec4u(), k[at / 4u + 1u], left > 4u)));
  @if(KV_WIDE && KV_HALVES)  { let words = k[at / 8u]; return Octet(quad_from_kv(words.xy), quad_from_kv(words.zw)); }
  @if(!KV_WIDE && !KV_QUANTISED) return Octet(
    vec4f(k_element(at, left, 0u), k_element(at, left, 1u), k_element(at, left, 2u), k_element(at, left, 3u)),
    vec4f(k_element(at, left, 4u), k_element(at, left, 5u), k_element(at, left, 6u), k_element(at, left, 7u)),
  );
}

fn v_octet(at: u32, left: u32) -> Octet {
  @if(KV_QUANTISED) return octet_of_codes(v_codes(at, left));
  @if(KV_WIDE && !KV_HALVES && !KV_QUANTISED) return Octet(bitcast<vec4f>(v[at / 4u]), bitcast<vec4f>(select(vec4u(), v[at / 4u + 1u], left > 4u)));
  @if(KV_WIDE && KV_HALVES)  { let words = v[at / 8u]; return Octet(quad_from_kv(words.xy), quad_from_kv(words.zw)); }
  @if(!KV_WIDE && !KV_QUANTISED) return Octet(
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

// An octet that is to be kept, or zeros.
@if(HIDES) fn kept_octet(octet: Octet, keeps: bool) -> Octet {
  return Octet(select(vec4f(), octet.low, keeps), select(vec4f(), octet.high, keeps));
}

// The bits of the largest magnitude of an octet, which are in the same order, then infinity, then NaN.
@if(HIDES) fn largest_bits(octet: Octet) -> u32 {
  let bits = max(bitcast<vec4u>(octet.low) & vec4u(0x7fffffff), bitcast<vec4u>(octet.high) & vec4u(0x7fffffff));
  return max(max(bits.x, bits.y), max(bits.z, bits.w));
}

// Eight codes of a quantised cache as they are stored.
@if(KV_BYTES) alias Codes = vec2u;
@if(KV_I4)    alias Codes = u32;

@if(KV_QUANTISED) fn octet_of_codes(codes: Codes) -> Octet {
  @if(KV_BYTES) return Octet(quad_from_codes(codes.x), quad_from_codes(codes.y));
  @if(KV_I4)    return Octet(quad_from_codes(codes), quad_from_codes(codes >> 16u));
}

@if(KV_QUANTISED) fn scaled_octet(octet: Octet, scale: f32) -> Octet {
  return Octet(octet.low * scale, octet.high * scale);
}

// The codes from `at` on, of which the row still has `left`: those beyond are 0. They may begin anywhere in a word; no word
// is read that has none of the row.
@if(KV_QUANTISED) fn k_codes(at: u32, left: u32) -> Codes {
  @if(KV_WIDE) return k[at / 8u];
  @if(!KV_WIDE && KV_BYTES) {
    let last = (at + min(left, 8u) - 1u) / 4u;
    let word = at / 4u;
    return row_codes(vec3u(k[word], k[min(word + 1u, last)], k[min(word + 2u, last)]), at, left);
  }
  @if(!KV_WIDE && KV_I4) return joined(k[at / 8u], k[(at + 7u) / 8u], at % 8u * 4u);
}

@if(KV_QUANTISED) fn v_codes(at: u32, left: u32) -> Codes {
  @if(KV_WIDE) return v[at / 8u];
  @if(!KV_WIDE && KV_BYTES) {
    let last = (at + min(left, 8u) - 1u) / 4u;
    let word = at / 4u;
    return row_codes(vec3u(v[word], v[min(word + 1u, last)], v[min(word + 2u, last)]), at, left);
  }
  @if(!KV_WIDE && KV_I4) return joined(v[at / 8u], v[(at + 7u) / 8u], at % 8u * 4u);
}

// Eight bytes from byte `at` % 4 of three words on, zeros from the `left`-th on.
@if(KV_BYTES) fn row_codes(words: vec3u, at: u32, left: u32) -> vec2u {
  let shift = at % 4u * 8u;
  let codes = vec2u(joined(words.x, words.y, shift), joined(words.y, words.z, shift));
  return codes & vec2u(first_bytes(left), first_bytes(max(left, 4u) - 4u));
}

// 32 bits from bit `shift` on.
@if(KV_QUANTISED) fn joined(low: u32, high: u32, shift: u32) -> u32 {
  return select((low >> shift) | (high << (32u - shift)), low, shift == 0u);
}

// A mask of the first n bytes of a word.
@if(KV_BYTES) fn first_bytes(n: u32) -> u32 {
  return select((1u << (n * 8u)) - 1u, 0xffffffffu, n >= 4u);
}
