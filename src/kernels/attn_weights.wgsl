// attn_weights: the attention probabilities of chosen query rows, given their lse.
//
//   in   q            [tokens, n_heads, head_dim]                             any strides; see octets
//   in   k            [tokens or pages × page_size, n_kv_heads, head_dim]
//   in   batch_info   Sequence [B], ALiBi slopes [B or 1, n_heads] as f32, ...; out_base counts the rows before a sequence
//                     ChosenRow [rows], from items_at on
//   in   mask, bias   [B or 1, n_heads or 1, tokens, words or keys]           see dense_masks; with MASK, BIAS
//   in   block_table  [B, table_width]    page of every page_size keys; only with PAGED
//   in   row_lse      [n_heads, tokens]   f32   natural log of what the row's scores and its sink sum up to; -inf: no key
//   out  weights      [rows, n_heads, head_dim_v]  f32   one for each key, and zeros beyond the last
//
// A weight is what the output would have of a value: with the identity matrix for values, these are the outputs, and
// head_dim_v is the number of keys. An item is one row, a tile of keys and a tile of HEADS heads that share a kv head. A
// workgroup takes one item of one kv head: each of its invocations a quad of four neighbouring keys, for all of the heads,
// so that each key is read once for them.
//   p = exp(s - lse)   and at most 1, should the lse be that of another row; 0 where the row does not see the key
//
// A row belongs to the sequence that its record names. Where only the GPU knows where sequences begin, the record names
// all that there are, and the last one that begins no later than the row is looked for.
//
// Stages: 1 queries, offsets of keys   2 scores   3 weights, write
//
// Variants:
//   those of octets (without values), key_offsets, dense_masks, attention (without SPLIT) and token_masks
// Constants:
//   HEADS         heads of a workgroup; those beyond the group have queries of zero, and are not written
//   HEAD_OCTETS   octets of a head

import package::shared::attention::{params, RowMask, scores_of, sees};
@if(!BY_TOKEN) import package::shared::attention::band_of;
@if(ALIBI && !MASK && !BIAS && !BLOCKS && !BY_TOKEN && !MODS) import package::shared::attention::{position_of, slope_of};
@if(MASK || BIAS || BLOCKS || BY_TOKEN || MODS) import package::shared::attention::row_mask_of;
@if(SCORE_MOD) import package::shared::attention::modified;
@if(MASK_MOD) import package::shared::attention::lets_see_by_mod;
@if(BY_TOKEN) import package::shared::token_masks::tokens_seen;
@if(MASK) import package::shared::dense_masks::{mask_bits, are_set};
@if(BIAS) import package::shared::dense_masks::{bias_of, biased};
import package::shared::band::{band_between, has_any_of};
@if(KV_QUANTISED) import package::shared::band::Band;
import package::shared::batch_info::{batch_info, sequence_at};
@if(KV_QUANTISED) import package::shared::batch_info::Sequence;
import package::shared::elements::MINUS_INFINITY;
import package::shared::key_offsets::{find_offsets, k_offsets_of, have_pages};
@if(KV_QUANTISED) import package::shared::kv_scales::key_scale;
import package::shared::lanes::MANY;
import package::shared::octets::{Octet, q_octet, k_octet};
@if(KV_QUANTISED) import package::shared::octets::scaled_octet;
import package::shared::scores::{LOG2_E, MASKED};
import constants::{WG_SIZE, TILE_KEYS, HEADS, HEAD_OCTETS};

// One of the query rows that are asked for.
struct ChosenRow {
  row: u32,              // its number among the query tokens of all sequences
  first_sequence: u32,   // its sequence is one of first_sequence .. end_sequence - 1
  end_sequence: u32,
  weights_at: u32,       // the first element of its weights
}

// As many words as an Item has, in whose place they are.
@record(batch_info) fn chosen_row_at(index: u32) -> ChosenRow;

@group(0) @binding(7) var<storage, read_write> weights: array<f32>;
@group(0) @binding(8) var<storage, read> row_lse: array<u32>;   // the bits of f32

var<workgroup> queries: array<vec4f, HEADS * HEAD_OCTETS * 2>;  // [head][octet][low, high]

@compute @workgroup_size(WG_SIZE)
fn attn_weights(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let workgroup_index = workgroup_id.y * grid.x + workgroup_id.x;
  let item = params.first_item + workgroup_index / params.n_kv_heads;
  if (item >= params.end_item) { return; }
  let kv_head = workgroup_index % params.n_kv_heads;
  let head_tiles = (params.group + HEADS - 1u) / HEADS;
  let key_tiles = (params.head_dim_v + TILE_KEYS - 1u) / TILE_KEYS;
  let first_head = item % head_tiles * HEADS;   // of those that share the kv head
  let key_tile = item / head_tiles % key_tiles;
  let chosen = chosen_row_at(params.items_at + item / head_tiles / key_tiles);

  let sequence_index = sequence_of(chosen);
  let sequence = sequence_at(sequence_index);
  let token = chosen.row - sequence.out_base;
  let first_key = i32(key_tile * TILE_KEYS);
  var seen = band_between(0, -1);
  // Padding behind the last sequence belongs to none.
  @if(!BY_TOKEN) if (chosen.row >= sequence.out_base && token < sequence.q_len) { seen = band_of(sequence, token); }
  @if(BY_TOKEN) if (chosen.row >= sequence.out_base && token < sequence.q_len) {
    seen = tokens_seen(sequence_index, sequence, token, token).by_any;
  }
  let sees_any = has_any_of(seen, first_key, first_key + i32(TILE_KEYS) - 1);

  // 1 queries, offsets of keys
  if (sees_any) {
    @if(PAGED) find_offsets(sequence, seen, key_tile, local);
    stage_queries(sequence.q_base + token * params.q_token, kv_head * params.group, first_head, local);
  }
  workgroupBarrier();

  // 2 scores
  let key = vec4i(first_key + i32(local * 4u)) + vec4i(0, 1, 2, 3);
  let sees_quad = sees_any && has_any_of(seen, key.x, key.w);
  @registers var products: array<vec4f, HEADS>;
  if (sees_quad) {
    let k_at = k_offsets_of(sequence, seen, key_tile, local) + kv_head * params.k_head;
    for (var octet = 0u; octet < MANY; octet++) {
      if (octet * 8u >= params.head_dim) { break; }
      let left = params.head_dim - octet * 8u;
      @if(KV_QUANTISED) let scales = scales_of_quad(sequence, kv_head, seen, key_tile, local, octet * 8u);
      @if(!KV_QUANTISED) let k0 = k_octet(k_at.x + octet * 8u, left);
      @if(KV_QUANTISED)  let k0 = scaled_octet(k_octet(k_at.x + octet * 8u, left), scales.x);
      @if(!KV_QUANTISED) let k1 = k_octet(k_at.y + octet * 8u, left);
      @if(KV_QUANTISED)  let k1 = scaled_octet(k_octet(k_at.y + octet * 8u, left), scales.y);
      @if(!KV_QUANTISED) let k2 = k_octet(k_at.z + octet * 8u, left);
      @if(KV_QUANTISED)  let k2 = scaled_octet(k_octet(k_at.z + octet * 8u, left), scales.z);
      @if(!KV_QUANTISED) let k3 = k_octet(k_at.w + octet * 8u, left);
      @if(KV_QUANTISED)  let k3 = scaled_octet(k_octet(k_at.w + octet * 8u, left), scales.w);
      @unroll for (var h = 0u; h < HEADS; h++) {
        let at = (h * HEAD_OCTETS + octet) * 2u;
        let q = Octet(queries[at], queries[at + 1u]);
        products[h] += vec4f(product(q, k0), product(q, k1), product(q, k2), product(q, k3));
      }
    }
  }

  // 3 weights, write
  @unroll for (var h = 0u; h < HEADS; h++) {
    if (first_head + h < params.group) {
      let head = kv_head * params.group + first_head + h;
      var p = vec4f();
      if (sees_quad) {
        let lse = row_lse[sequence.lse_base + token * params.lse_token + head * params.lse_head];
        @if(MASK || BIAS || BLOCKS || BY_TOKEN || MODS)               let mask = row_mask_of(sequence, sequence_index, token, head);
        @if(ALIBI && !MASK && !BIAS && !BLOCKS && !BY_TOKEN && !MODS)  let mask = RowMask(seen, position_of(sequence, token), slope_of(sequence_index, head));
        @if(!ALIBI && !MASK && !BIAS && !BLOCKS && !BY_TOKEN && !MODS) let mask = RowMask(seen);
        var is_seen = sees(mask, key);
        @if(PAGED) is_seen &= have_pages(key_tile, local);
        @if(MASK) is_seen &= are_set(mask_bits(mask.mask_row, u32(key.x), sequence.k_len));
        @if(MASK_MOD) is_seen &= lets_see_by_mod(mask, key);
        var s = scores_of(products[h], key, mask);
        @if(BIAS) s = biased(s, bias_of(mask.bias_row, u32(key.x), sequence.k_len));
        @if(SCORE_MOD) s = modified(s, key, mask);
        p = weights_of(select(vec4f(MASKED), s, is_seen), lse);
      }
      write_quad_of(chosen.weights_at + head * params.out_head, u32(key.x), p);
    }
  }
}

fn sequence_of(chosen: ChosenRow) -> u32 {
  var first = chosen.first_sequence;
  var end = chosen.end_sequence;
  for (var i = 0u; i < 32u; i++) {
    if (end - first <= 1u) { break; }
    let middle = first + (end - first) / 2u;
    if (sequence_at(middle).out_base <= chosen.row) { first = middle; } else { end = middle; }
  }
  return first;
}

// Loads the queries of a token's heads; heads beyond the group are zeros.
fn stage_queries(q_token: u32, group_head: u32, first_head: u32, invocation: u32) {
  for (var step = 0u; step < (HEADS * HEAD_OCTETS + WG_SIZE - 1) / WG_SIZE; step++) {
    let index = step * WG_SIZE + invocation;
    if (index >= HEADS * HEAD_OCTETS) { break; }
    let head = first_head + index / HEAD_OCTETS;
    let dim = index % HEAD_OCTETS * 8u;
    var elements = Octet(vec4f(), vec4f());
    if (head < params.group) {
      elements = q_octet(q_token + (group_head + head) * params.q_head + dim, params.head_dim - dim);
    }
    queries[index * 2u] = elements.low;
    queries[index * 2u + 1u] = elements.high;
  }
}

// The scales of four keys, for dims dim .. dim + 7.
@if(KV_QUANTISED) fn scales_of_quad(sequence: Sequence, kv_head: u32, seen: Band, tile: u32, quad: u32, dim: u32) -> vec4f {
  return vec4f(
    key_scale(sequence, kv_head, seen, tile, quad * 4u, dim), key_scale(sequence, kv_head, seen, tile, quad * 4u + 1u, dim),
    key_scale(sequence, kv_head, seen, tile, quad * 4u + 2u, dim), key_scale(sequence, kv_head, seen, tile, quad * 4u + 3u, dim),
  );
}

fn product(a: Octet, b: Octet) -> f32 {
  return dot(a.low, b.low) + dot(a.high, b.high);
}

// Weights by scores in base 2 and the bits of an lse. With no key and no sink there is nothing to weigh.
fn weights_of(s: vec4f, lse: u32) -> vec4f {
  if (lse == MINUS_INFINITY) { return vec4f(); }
  return exp2(min(s - bitcast<f32>(lse) * LOG2_E, vec4f()));
}

// Writes the weights of four keys, or of those of them that have a place.
fn write_quad_of(row: u32, key: u32, p: vec4f) {
  for (var i = 0u; i < 4u; i++) {
    if (key + i < params.head_dim_v) { weights[row + key + i] = p[i]; }
  }
}
