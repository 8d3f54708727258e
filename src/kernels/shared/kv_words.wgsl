// kv_words: octets of keys and values as they are stored, so that they can be asked for early, wait in few registers,
// and become numbers where they are used.
//
// Variants:
//   KV_HALVES   an octet is one load of 16 bytes; else two

import package::shared::octets::{Octet, k, v};
@if(KV_F16)  import package::shared::elements::quad_from_f16 as quad_from_kv;
@if(KV_BF16) import package::shared::elements::quad_from_bf16 as quad_from_kv;

@if(KV_HALVES)  struct Words { packed: vec4u }
@if(!KV_HALVES) struct Words { low: vec4u, high: vec4u }

// Octets of four keys, or of four values.
struct QuadWords {
  x: Words,
  y: Words,
  z: Words,
  w: Words,
}

// The octets at four places, which have `left` elements in their rows.
fn k_quad(at: vec4u, left: u32) -> QuadWords {
  return QuadWords(k_words(at.x, left), k_words(at.y, left), k_words(at.z, left), k_words(at.w, left));
}

fn v_quad(at: vec4u, left: u32) -> QuadWords {
  return QuadWords(v_words(at.x, left), v_words(at.y, left), v_words(at.z, left), v_words(at.w, left));
}

fn k_words(at: u32, left: u32) -> Words {
  @if(KV_HALVES)  return Words(k[at / 8u]);
  @if(!KV_HALVES) return Words(k[at / 4u], k[at / 4u + select(0u, 1u, left > 4u)]);
}

fn v_words(at: u32, left: u32) -> Words {
  @if(KV_HALVES)  return Words(v[at / 8u]);
  @if(!KV_HALVES) return Words(v[at / 4u], v[at / 4u + select(0u, 1u, left > 4u)]);
}

// The numbers of an octet; those beyond the end of its row are zeros.
fn octet_of(words: Words, left: u32) -> Octet {
  @if(KV_HALVES)  return Octet(quad_from_kv(words.packed.xy), quad_from_kv(words.packed.zw));
  @if(!KV_HALVES) return Octet(bitcast<vec4f>(words.low), select(vec4f(), bitcast<vec4f>(words.high), left > 4u));
}
