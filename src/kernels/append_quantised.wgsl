// append_quantised: writes new keys, rotated by their positions, or new values to their slots in a quantised cache.
//
//   in   new_k        [new tokens, n_kv_heads, head_dim]         any strides; with KEYS
//   in   new_v        [new tokens, n_kv_heads, head_dim_v]       any strides; with VALUES
//   in   batch_info   Sequence [B], NewTokens [n_items]          see items_at; with POSITIONS see token_masks, too
//   in   cosines      [positions, rotary_dim / 2]                f32, or packed halves; only with ROTARY
//   in   sines        [positions, rotary_dim / 2]
//   in   block_table  [B, table_width]                           page of every page_size slots; only with PAGED
//   out  codes        [tokens or pages × page_size, n_kv_heads, head_dim]     any strides
//   out  scales       i8 [tokens or pages × page_size, n_kv_heads], i4 [..., head_dim / 32]; f32 or f16, any strides
//   in   head_scales  [n_kv_heads] or [1], f32; with E4M3 instead of scales
//
// LANES invocations have a head of a token, OCTETS octets (eight neighbouring elements) each, which they hold while they find
// the largest element. Where heads are turned, each of them reads the whole head. Of x, after all rotation, in f32:
//   i8    scale = max |x| / 127 of the head, rounded to its type; code = x / scale, rounded to the nearest, ties to even
//   i4    scale = x* / −8 of 32 neighbours, x* the largest of them, with its sign; code = ⌊x / scale + 8.5⌋, 0 … 15
//   e4m3  scale given; code = x / scale as an 8-bit float, to the nearest, ties to even, at most 448
// A NaN counts as 0 in i8 and i4. An infinity, or a scale that overflows, takes the largest scale; one that is 0 makes zeros.
//
// Words that a head shares with a neighbour are merged by atomics, so a token never touches the bytes of another.
//
// Stages: 1 read, rotate, largest element of an octet   2 largest of all that share a scale   3 scale   4 codes
//
// Variants:
//   KEYS, VALUES     which of the two it writes
//   I8, I4, E4M3     the format
//   SCALE_F16        scales are halves, else f32
//   ROTARY           elements below rotary_dim are rotated; with KEYS
//   POSITIONS        tokens have positions of their own; with ROTARY
//   SECTIONS         three each, of which every pair is turned by one; with POSITIONS
//   TURNED           heads are multiplied by the Hadamard matrix, keys after they are rotated
//   PAGED            the cache is in pages
//   WIDE             rows of new tokens allow accesses of 16 bytes
//   WORDS            heads of the cache begin and end with whole words

import package::shared::batch_info::{Sequence, sequence_at};
import package::shared::elements::f16_bits;
import package::shared::new_rows::{
  Numbers, Row, params, item_at, row_of, load_octet, numbers_of, rotated_of, block_table, NONE,
};
@if(POSITIONS) import package::shared::new_rows::at_own_position;
@if(TURNED) import package::shared::hadamard::{sign_between, turned_within};
import constants::{LANES, OCTETS};

const WG_SIZE = 64u;

@if(WORDS)      @group(0) @binding(8) var<storage, read_write> codes: array<u32>;
@if(!WORDS)     @group(0) @binding(8) var<storage, read_write> codes: array<atomic<u32>>;
@if(SCALE_F16)  @group(0) @binding(9) var<storage, read_write> scales: array<atomic<u32>>;
@if(!SCALE_F16) @group(0) @binding(9) var<storage, read_write> scales: array<u32>;
@group(0) @binding(10) var<storage, read> head_scales: array<f32>;

// Elements that share a scale of i4, in octets.
const GROUP_OCTETS = 4u;

// Bits of the largest element that each invocation holds; with I4 of each octet, with its sign.
@if(I8) var<workgroup> largest: array<u32, WG_SIZE>;
@if(I4) var<workgroup> largest: array<u32, WG_SIZE * OCTETS>;

const INFINITY_BITS = 0x7f800000u;
const MAGNITUDE = 0x7fffffffu;
const SIGN = 0x80000000u;
const LARGEST_F32 = 0x7f7fffffu;
const LARGEST_F16 = 0x7bffu;

// A scale as it is stored, and the number that it is.
@if(!E4M3) struct Scale {
  bits: u32,
  value: f32,
}

@compute @workgroup_size(WG_SIZE)
fn append_quantised(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let workgroup = workgroup_id.y * grid.x + workgroup_id.x;
  let lane = local % LANES;
  let first_lane = local - lane;
  let head_index = workgroup * (WG_SIZE / LANES) + local / LANES;
  @if(KEYS)   let row_octets = (params.head_dim + 7u) / 8u;
  @if(VALUES) let row_octets = (params.head_dim_v + 7u) / 8u;
  let n_heads = params.token_octets / row_octets;
  let head = head_index % n_heads;
  let index = head_index / n_heads;
  let item = index / params.item_tokens;
  // Others wait for all invocations at the barrier.
  var row = Row(NONE, 0u, 0u, 0u, 0u, 0u, 0u, 0u);
  var scale_at = 0u;
  if (item < params.n_items) {
    let tokens = item_at(item);
    let token = tokens.first_token + index % params.item_tokens;
    let sequence = sequence_at(tokens.sequence);
    @if(!POSITIONS) row = row_of(sequence, token, head * row_octets);
    @if(POSITIONS)  row = at_own_position(row_of(sequence, token, head * row_octets), tokens.sequence, sequence, token);
    if (row.kind != NONE) { scale_at = first_scale(sequence, sequence.n_cached + token, head); }
  }

  @if(TURNED) @registers var low_sum: array<vec4f, OCTETS>;
  @if(TURNED) @registers var high_sum: array<vec4f, OCTETS>;
  @if(TURNED) if (row.kind != NONE) {
    for (var k = 0u; k < LANES * OCTETS; k++) {
      row.dim = k * 8u;
      let fresh = new_numbers(row);
      @unroll for (var i = 0u; i < OCTETS; i++) {
        let sign = sign_between(lane + i * LANES, k);
        low_sum[i] += sign * fresh.low;
        high_sum[i] += sign * fresh.high;
      }
    }
  }
  @registers var low: array<vec4u, OCTETS>;
  @registers var high: array<vec4u, OCTETS>;
  @if(I8) var own_largest = 0u;
  @unroll for (var i = 0u; i < OCTETS; i++) {
    let octet = lane + i * LANES;
    if (row.kind != NONE && octet < row_octets) {
      @if(!TURNED) row.dim = octet * 8u;
      @if(!TURNED) let fresh = new_numbers(row);
      @if(TURNED)  let fresh = turned_within(Numbers(low_sum[i], high_sum[i]), head_dim());
      @if(E4M3) {
        low[i] = bitcast<vec4u>(fresh.low);
        high[i] = bitcast<vec4u>(fresh.high);
      }
      @else {
        low[i] = without_nan(bitcast<vec4u>(fresh.low));
        high[i] = without_nan(bitcast<vec4u>(fresh.high));
      }
    }
    @if(I8) own_largest = larger(own_largest, larger(largest_of(low[i]), largest_of(high[i])));
    @if(I4) largest[i * WG_SIZE + local] = larger(largest_of(low[i]), largest_of(high[i]));
  }
  @if(I8) largest[local] = own_largest;
  @if(!E4M3) workgroupBarrier();
  if (row.kind == NONE) { return; }

  @if(I8) let scale = scale_of(largest_of_head(first_lane), 127.0);
  @if(I8) if (lane == 0u) { store_scale(scale_at, scale.bits); }
  @if(E4M3) let scale = head_scales[scale_at];
  @unroll for (var i = 0u; i < OCTETS; i++) {
    let octet = lane + i * LANES;
    if (octet < row_octets) {
      @if(I4) {
        let scale = scale_of(largest_of_group(first_lane, octet - octet % GROUP_OCTETS), 8.0);
        if (octet % GROUP_OCTETS == 0u) { store_scale(scale_at + octet / GROUP_OCTETS, scale.bits); }
        let word = nibbles(low[i], scale.value) | (nibbles(high[i], scale.value) << 16u);
        store_codes(row.write_at + octet * 8u, 8u, word, 0u);
      }
      @if(I8)   let packed = vec2u(bytes(low[i], scale.value), bytes(high[i], scale.value));
      @if(E4M3) let packed = vec2u(floats(low[i], scale), floats(high[i], scale));
      @if(!I4)  store_codes(row.write_at + octet * 8u, row.head_dim - octet * 8u, packed.x, packed.y);
    }
  }
}

// Where the first scale of a head lies.
fn first_scale(sequence: Sequence, slot: u32, head: u32) -> u32 {
  @if(E4M3) return params.scale_base + head * params.scale_head;
  @else {
    @if(PAGED)  let page = block_table[sequence.table_base + slot / params.page_size];
    @if(PAGED)  let token = slot % params.page_size;
    @if(!PAGED) let page = sequence.table_base;
    @if(!PAGED) let token = slot;
    return params.scale_base + page * params.scale_page + token * params.scale_token + head * params.scale_head;
  }
}

@if(TURNED) fn head_dim() -> u32 {
  @if(KEYS)   return params.head_dim;
  @if(VALUES) return params.head_dim_v;
}

fn new_numbers(row: Row) -> Numbers {
  let stored = load_octet(row, row.read_at + row.dim, row.head_dim - row.dim);
  let numbers = numbers_of(stored, row.read_type);
  @if(ROTARY) if (row.dim < 2u * params.rotary_pairs) { return rotated_of(row, numbers); }
  return numbers;
}

@if(!E4M3) fn without_nan(bits: vec4u) -> vec4u {
  return select(bits, vec4u(), (bits & vec4u(MAGNITUDE)) > vec4u(INFINITY_BITS));
}

@if(!E4M3) fn largest_of(bits: vec4u) -> u32 {
  return larger(larger(bits.x, bits.y), larger(bits.z, bits.w));
}

// The larger magnitude of two, of equals the first.
@if(!E4M3) fn larger(a: u32, b: u32) -> u32 {
  return select(a, b, (b & MAGNITUDE) > (a & MAGNITUDE));
}

@if(I8) fn largest_of_head(first_lane: u32) -> u32 {
  var most = 0u;
  for (var i = 0u; i < LANES; i++) { most = larger(most, largest[first_lane + i]); }
  return most;
}

@if(I4) fn largest_of_group(first_lane: u32, first_octet: u32) -> u32 {
  var most = 0u;
  for (var i = 0u; i < GROUP_OCTETS; i++) {
    let octet = first_octet + i;
    most = larger(most, largest[octet / LANES * WG_SIZE + first_lane + octet % LANES]);
  }
  return most;
}

// The scale by which the largest element, given by its bits, is the code ±`code`: with I4 its code is negative.
@if(!E4M3) fn scale_of(bits: u32, code: f32) -> Scale {
  let magnitude = bits & MAGNITUDE;
  @if(I8) let sign = 0u;
  @if(I4) let sign = ~bits & SIGN;
  let is_infinite = magnitude == INFINITY_BITS;
  let step = bitcast<f32>(select(magnitude, 0u, is_infinite)) / code;
  @if(SCALE_F16) {
    let half = select(min(f16_bits(step), LARGEST_F16), LARGEST_F16, is_infinite);
    return Scale(half | (sign >> 16u), signed_as(value_of_half(half), sign));
  }
  @if(!SCALE_F16) {
    let word = select(bitcast<u32>(step), LARGEST_F32, is_infinite);
    // Devices may take subnormal numbers for 0.
    if (word < 0x00800000u) { return Scale(0u, 0.0); }
    return Scale(word | sign, bitcast<f32>(word | sign));
  }
}

@if(!E4M3) fn signed_as(magnitude: f32, sign: u32) -> f32 {
  return bitcast<f32>(bitcast<u32>(magnitude) | sign);
}

// By arithmetic: a device may unpack subnormal halves as zeros.
@if(SCALE_F16) fn value_of_half(bits: u32) -> f32 {
  if (bits < 0x400u) { return f32(bits) * 0x1p-24; }
  return bitcast<f32>((bits << 13u) + 0x38000000u);
}

// x / scale, or a number beyond all codes for an infinite x; 0 for a scale of 0.
@if(!E4M3) fn quotients(bits: vec4u, scale: f32) -> vec4f {
  let scale_bits = bitcast<u32>(scale);
  if ((scale_bits & MAGNITUDE) == 0u) { return vec4f(); }
  let is_infinite = (bits & vec4u(MAGNITUDE)) == vec4u(INFINITY_BITS);
  // Division by numbers beyond 2^126 need not be exact.
  let shrink = select(1.0, 0x1p-4, (scale_bits & MAGNITUDE) == LARGEST_F32);
  let quotient = bitcast<vec4f>(select(bits, vec4u(), is_infinite)) * shrink / (scale * shrink);
  let beyond = bitcast<vec4f>(((bits ^ vec4u(scale_bits)) & vec4u(SIGN)) | vec4u(0x44000000u));
  return select(quotient, beyond, is_infinite);
}

// Four codes of i8, one byte each.
@if(I8) fn bytes(bits: vec4u, scale: f32) -> u32 {
  let rounded = clamp(round(quotients(bits, scale)), vec4f(-127.0), vec4f(127.0));
  let four = bitcast<vec4u>(vec4i(rounded)) & vec4u(0xffu);
  return four.x | (four.y << 8u) | (four.z << 16u) | (four.w << 24u);
}

// Four codes of i4, half a byte each.
@if(I4) fn nibbles(bits: vec4u, scale: f32) -> u32 {
  let four = vec4u(clamp(floor(quotients(bits, scale) + 8.5), vec4f(), vec4f(15.0)));
  return four.x | (four.y << 4u) | (four.z << 8u) | (four.w << 12u);
}

// Four codes of e4m3, one byte each.
@if(E4M3) fn floats(bits: vec4u, scale: f32) -> u32 {
  let magnitude = bits & vec4u(MAGNITUDE);
  let scale_bits = bitcast<u32>(scale);
  let by = bitcast<f32>(scale_bits & MAGNITUDE);
  // Cut off before it is divided, so that nothing overflows.
  let most = bitcast<u32>(min(by, 0x1p118) * 448.0);
  let quotient = min(bitcast<vec4f>(min(magnitude, vec4u(most))) / by, vec4f(448.0));
  let word = bitcast<vec4u>(quotient);
  let normal = (word + ((word >> vec4u(20u)) & vec4u(1u)) + vec4u(0x7ffffu - 0x3c000000u)) >> vec4u(20u);
  // Counted in steps of 2^-9, which is what numbers from 2^14 to 2^15 are rounded to.
  let subnormal = bitcast<vec4u>(quotient + 0x1p14) - vec4u(0x46800000u);
  var four = select(normal, subnormal, word < vec4u(0x3c800000u));
  four |= ((bits ^ vec4u(scale_bits)) & vec4u(SIGN)) >> vec4u(24u);
  four = select(four, vec4u(0x7fu), magnitude > vec4u(INFINITY_BITS));
  return four.x | (four.y << 8u) | (four.z << 16u) | (four.w << 24u);
}

@if(!E4M3) fn store_scale(at: u32, bits: u32) {
  @if(!SCALE_F16) scales[at] = bits;
  @if(SCALE_F16) {
    let shift = at % 2u * 16u;
    atomicAnd(&scales[at / 2u], 0xffff0000u >> shift);
    atomicOr(&scales[at / 2u], bits << shift);
  }
}

// Writes eight codes from element `at` on, or those of them that are among the `left` ones.
fn store_codes(at: u32, left: u32, low: u32, high: u32) {
  @if(I4)  let word = at / 8u;
  @if(!I4) let word = at / 4u;
  @if(WORDS) {
    codes[word] = low;
    @if(!I4) if (left > 4u) { codes[word + 1u] = high; }
  }
  @if(!WORDS) {
    @if(I4)  let shift = at % 8u * 4u;
    @if(!I4) let shift = at % 4u * 8u;
    @if(I4)  let low_mask = 0xffffffffu;
    @if(!I4) let low_mask = mask_of(left);
    @if(I4)  let high_mask = 0u;
    @if(!I4) let high_mask = mask_of(left - min(left, 4u));
    merge_codes(word, low_mask << shift, low << shift);
    merge_codes(word + 1u, (high_mask << shift) | carry(low_mask, shift), (high << shift) | carry(low, shift));
    @if(!I4) merge_codes(word + 2u, carry(high_mask, shift), carry(high, shift));
  }
}

// The first `count` bytes of a word.
@if(!WORDS && !I4) fn mask_of(count: u32) -> u32 {
  return select((1u << (count % 4u * 8u)) - 1u, 0xffffffffu, count >= 4u);
}

// What of a word that is moved by `shift` bits comes into the next one.
@if(!WORDS) fn carry(word: u32, shift: u32) -> u32 {
  return select((word >> (31u - shift)) >> 1u, 0u, shift == 0u);
}

// The rest of the word may belong to another head or lie outside the cache: it stays as it is.
@if(!WORDS) fn merge_codes(word: u32, mask: u32, bits: u32) {
  if (mask == 0u) { return; }
  if (mask == 0xffffffffu) { atomicStore(&codes[word], bits); return; }
  atomicAnd(&codes[word], ~mask);
  atomicOr(&codes[word], bits & mask);
}
