// append_kv: writes new keys or values to their slots in the cache, and rotates keys by their positions; or rotates
// queries into memory where attention reads them.
//
//   in   fresh        [new tokens, n_heads, head_dim]                                 any strides
//   in   batch_info   Sequence [B], ...
//   in   items        [n_items]  NewToken
//   in   block_table  [B, table_width]    page of every page_size slots; only with PAGED
//   in   cosines      [positions, rotary_dim / 2]  f32, or packed halves; only with ROTARY
//   in   sines        [positions, rotary_dim / 2]
//   out  cache        [tokens or pages × page_size, n_heads, head_dim]                any strides
//
// One invocation owns two neighbouring elements of a head: where rows of halves begin at whole words, one word.
// With pairs (x, y) at (2t, 2t + 1), or (t, t + rotary_dim / 2), and the angle of the token's position:
//   x' = x cos - y sin      y' = x sin + y cos
//
// Indices that come from the GPU are checked: a token whose page the pool does not have is not written.
//
// Variants:
//   FROM_F16, FROM_BF16   how fresh is stored; with FROM_HALVES; none: f32
//   TO_F16, TO_BF16       how the cache is stored; with TO_HALVES; none: f32
//   TO_WORDS              halves of which every row begins and ends with a whole word
//   SAME                  both are stored alike: what is not rotated keeps its bits
//   PAGED                 the cache is in pages
//   ROTARY                elements below rotary_dim are rotated
//   QUERIES               fresh is q, and the "cache" is laid out like it

import package::shared::batch_info::{Sequence, sequence_at};
import package::shared::elements::{half_from_f16, half_from_bf16, f16_bits, bf16_bits, word_of, number_from};

const WG_SIZE = 64u;

struct Params {
  n_items: u32,
  n_heads: u32,
  head_dim: u32,
  is_value: u32,          // fresh is v, not k
  fresh_token: u32,       // strides, in elements
  fresh_head: u32,
  cache_page: u32,
  cache_token: u32,
  cache_head: u32,
  page_size: u32,
  n_pages: u32,
  rotary_pairs: u32,      // rotary_dim / 2
  is_interleaved: u32,
  advances: u32,          // positions go up by one from token to token; else all are n_cached
  n_positions: u32,       // rows of cosines and sines
  cos_base: u32,
  cos_position: u32,
  sin_base: u32,
  sin_position: u32,
  angle_type: u32,        // F32, F16 or BF16
}

struct NewToken {
  sequence: u32,
  token: u32,             // of the new ones of the sequence; or of its queries
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> fresh: array<u32>;
@group(0) @binding(2) var<storage, read> cosines: array<u32>;
@group(0) @binding(3) var<storage, read> sines: array<u32>;
@group(0) @binding(5) var<storage, read> items: array<NewToken>;
@group(0) @binding(6) var<storage, read> block_table: array<u32>;
@if(TO_HALVES && !TO_WORDS) @group(0) @binding(7) var<storage, read_write> cache: array<atomic<u32>>;
@else                       @group(0) @binding(7) var<storage, read_write> cache: array<u32>;

@compute @workgroup_size(WG_SIZE)
fn append_kv(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let invocation = (workgroup_id.y * grid.x + workgroup_id.x) * WG_SIZE + local;
  let pairs = (params.head_dim + 1u) / 2u;
  let dim = invocation % pairs * 2u;
  let head = invocation / pairs % params.n_heads;
  let index = invocation / pairs / params.n_heads;
  if (index >= params.n_items) { return; }
  let sequence = sequence_at(items[index].sequence);
  let token = items[index].token;
  // Lengths on the GPU may be shorter than those that were planned for, and there may be fewer slots than tokens.
  @if(QUERIES)  if (token >= sequence.q_len) { return; }
  @if(!QUERIES) if (sequence.n_cached + token >= sequence.k_len) { return; }
  let page = page_of(sequence, token);
  @if(PAGED) if (page >= params.n_pages) { return; }
  let position = sequence.n_cached + token * params.advances;
  // gather_lengths leaves no keys to a sequence with a query beyond the rotary tables.
  @if(ROTARY) if (position >= params.n_positions) { return; }

  let row = fresh_base(sequence) + token * params.fresh_token + head * params.fresh_head;
  let to = cache_row(sequence, token, page) + head * params.cache_head + dim;
  let low = stored(row, dim, position);
  @if(TO_WORDS) cache[to / 2u] = low | (stored(row, dim + 1u, position) << 16u);
  @if(!TO_WORDS) {
    write_element(to, low);
    if (dim + 1u < params.head_dim) { write_element(to + 1u, stored(row, dim + 1u, position)); }
  }
}

fn fresh_base(sequence: Sequence) -> u32 {
  @if(QUERIES)  return sequence.q_base;
  @if(!QUERIES) return select(sequence.new_k_base, sequence.new_v_base, params.is_value != 0u);
}

// The page of a token's slot; the pool may not have it.
fn page_of(sequence: Sequence, token: u32) -> u32 {
  @if(PAGED)  return block_table[sequence.table_base + (sequence.n_cached + token) / params.page_size];
  @if(!PAGED) return 0u;
}

// The first element of a token's row.
fn cache_row(sequence: Sequence, token: u32, page: u32) -> u32 {
  @if(QUERIES) return sequence.q_base + token * params.cache_token;
  @if(!QUERIES) {
    let base = select(sequence.k_base, sequence.v_base, params.is_value != 0u);
    let slot = sequence.n_cached + token;
    @if(!PAGED) return base + slot * params.cache_token;
    @if(PAGED)  return base + page * params.cache_page + slot % params.page_size * params.cache_token;
  }
}

// The bits of an element as the cache stores it.
fn stored(row: u32, dim: u32, position: u32) -> u32 {
  @if(ROTARY) {
    if (dim < 2u * params.rotary_pairs) { return cache_bits(rotated(row, dim, position)); }
  }
  @if(SAME)  return fresh_bits(row + dim);
  @if(!SAME) return cache_bits(fresh_element(row + dim));
}

@if(ROTARY) fn rotated(row: u32, dim: u32, position: u32) -> f32 {
  var pair = dim / 2u;
  var is_y = dim % 2u == 1u;
  var other_dim = select(dim + 1u, dim - 1u, is_y);
  if (params.is_interleaved == 0u) {
    pair = dim % params.rotary_pairs;
    is_y = dim >= params.rotary_pairs;
    other_dim = select(dim + params.rotary_pairs, pair, is_y);
  }
  let other = fresh_element(row + other_dim);
  return fresh_element(row + dim) * cos_of(position, pair) + select(-other, other, is_y) * sin_of(position, pair);
}

fn fresh_bits(at: u32) -> u32 {
  @if(FROM_HALVES)  return (fresh[at / 2u] >> (at % 2u * 16u)) & 0xffffu;
  @if(!FROM_HALVES) return fresh[at];
}

fn fresh_element(at: u32) -> f32 {
  @if(FROM_F16)     return half_from_f16(fresh[at / 2u], at % 2u == 1u);
  @if(FROM_BF16)    return half_from_bf16(fresh[at / 2u], at % 2u == 1u);
  @if(!FROM_HALVES) return bitcast<f32>(fresh[at]);
}

fn cache_bits(x: f32) -> u32 {
  @if(TO_F16)     return f16_bits(x);
  @if(TO_BF16)    return bf16_bits(x);
  @if(!TO_HALVES) return bitcast<u32>(x);
}

@if(ROTARY) fn cos_of(position: u32, pair: u32) -> f32 {
  let at = params.cos_base + position * params.cos_position + pair;
  return number_from(cosines[word_of(at, params.angle_type)], at, params.angle_type);
}

@if(ROTARY) fn sin_of(position: u32, pair: u32) -> f32 {
  let at = params.sin_base + position * params.sin_position + pair;
  return number_from(sines[word_of(at, params.angle_type)], at, params.angle_type);
}

// The other half of the word may belong to another row or lie outside the tensor: each half is set by atomics, which
// leave it as it is.
@if(!TO_WORDS) fn write_element(at: u32, bits: u32) {
  @if(!TO_HALVES) cache[at] = bits;
  @if(TO_HALVES) {
    let shift = at % 2u * 16u;
    atomicAnd(&cache[at / 2u], 0xffff0000u >> shift);
    atomicOr(&cache[at / 2u], bits << shift);
  }
}
