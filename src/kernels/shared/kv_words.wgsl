// kv_words: octets of keys and values as they are stored, so that they can be asked for early, wait in few registers,
// and become numbers where they are used.
//
// Variants:
//   KV_HALVES      an octet is one load of 16 bytes; of f32 it is two
//   KV_QUANTISED   of values it is one load of its codes. Of keys neighbouring octets, K_RUN of them, are one load, up to 16
//                  bytes: since invocations share no more than four of them, memory would deliver too little at a time

import package::shared::octets::{Octet, k, v};
@if(KV_QUANTISED) import package::shared::octets::{Codes, v_codes, octet_of_codes};
@if(KV_F16)  import package::shared::elements::quad_from_f16 as quad_from_kv;
@if(KV_BF16) import package::shared::elements::quad_from_bf16 as quad_from_kv;

@if(KV_HALVES)  struct Words { packed: vec4u }
@if(!KV_HALVES && !KV_QUANTISED) struct Words { low: vec4u, high: vec4u }
@if(KV_QUANTISED) struct Words { codes: Codes }

// Octets of four keys, or of four values.
struct QuadWords {
  x: Words,
  y: Words,
  z: Words,
  w: Words,
}

// The octets at four places, which have `left` elements in their rows.
@if(!KV_QUANTISED) fn k_quad(at: vec4u, left: u32) -> QuadWords {
  return QuadWords(k_words(at.x, left), k_words(at.y, left), k_words(at.z, left), k_words(at.w, left));
}

fn v_quad(at: vec4u, left: u32) -> QuadWords {
  return QuadWords(v_words(at.x, left), v_words(at.y, left), v_words(at.z, left), v_words(at.w, left));
}

@if(!KV_QUANTISED) fn k_words(at: u32, left: u32) -> Words {
  @if(KV_HALVES)  return Words(k[at / 8u]);
  @if(!KV_HALVES) return Words(k[at / 4u], k[at / 4u + select(0u, 1u, left > 4u)]);
}

fn v_words(at: u32, left: u32) -> Words {
  @if(KV_HALVES)  return Words(v[at / 8u]);
  @if(KV_QUANTISED) return Words(v_codes(at, left));
  @if(!KV_HALVES && !KV_QUANTISED) return Words(v[at / 4u], v[at / 4u + select(0u, 1u, left > 4u)]);
}

// The octets of those of four values that are to be kept, and zeros.
@if(HIDES && !KV_I8 && !KV_I4) fn kept_words(quad: QuadWords, keeps: vec4<bool>) -> QuadWords {
  return QuadWords(
    words_if(quad.x, keeps.x), words_if(quad.y, keeps.y), words_if(quad.z, keeps.z), words_if(quad.w, keeps.w),
  );
}

@if(HIDES && !KV_I8 && !KV_I4) fn words_if(words: Words, keeps: bool) -> Words {
  @if(KV_HALVES) return Words(select(vec4u(), words.packed, keeps));
  @if(KV_E4M3)   return Words(select(Codes(), words.codes, keeps));
  @if(!KV_HALVES && !KV_E4M3) return Words(select(vec4u(), words.low, keeps), select(vec4u(), words.high, keeps));
}

// The numbers of an octet; those beyond the end of its row are zeros.
fn octet_of(words: Words, left: u32) -> Octet {
  @if(KV_HALVES)  return Octet(quad_from_kv(words.packed.xy), quad_from_kv(words.packed.zw));
  @if(KV_QUANTISED) return octet_of_codes(words.codes);
  @if(!KV_HALVES && !KV_QUANTISED) return Octet(bitcast<vec4f>(words.low), select(vec4f(), bitcast<vec4f>(words.high), left > 4u));
}

// Codes of K_RUN neighbouring octets.
@if(KV_QUANTISED && K_QUADS)  alias Run = vec4u;
@if(KV_QUANTISED && K_PAIRS)  alias Run = vec2u;
@if(KV_QUANTISED && !K_QUADS && !K_PAIRS) alias Run = u32;

// Runs of four keys.
@if(KV_QUANTISED) struct QuadRuns {
  x: Run,
  y: Run,
  z: Run,
  w: Run,
}

@if(KV_QUANTISED) fn k_runs(at: vec4u) -> QuadRuns {
  const elements = 8 * K_RUN;
  return QuadRuns(k[at.x / elements], k[at.y / elements], k[at.z / elements], k[at.w / elements]);
}

// An octet of a run.
@if(KV_QUANTISED) fn octet_of_run(run: Run, index: u32) -> Octet {
  @if(KV_BYTES && K_QUADS) return octet_of_codes(vec2u(run[index * 2u], run[index * 2u + 1u]));
  @if(KV_BYTES && K_PAIRS) return octet_of_codes(run);
  @if(KV_I4 && (K_QUADS || K_PAIRS)) return octet_of_codes(run[index]);
  @if(KV_I4 && !K_QUADS && !K_PAIRS) return octet_of_codes(run);
}
