// append_kv: writes new keys and values to their slots in the cache, and rotates keys by their positions; rotates queries
// into memory where attention reads them.
//
//   in   q            [queries, n_heads, head_dim]               any strides; only with QUERIES
//   in   new_k        [new tokens, n_kv_heads, head_dim]         any strides; these two only with APPENDS
//   in   new_v        [new tokens, n_kv_heads, head_dim_v]
//   in   batch_info   Sequence [B], NewTokens [n_items]          see items_at; with POSITIONS see token_masks, too
//   in   cosines      [positions, rotary_dim / 2]                f32, or packed halves; only with ROTARY
//   in   sines        [positions, rotary_dim / 2]
//   in   block_table  [B, table_width]                           page of every page_size slots; only with PAGED
//   out  k_cache      [tokens or pages × page_size, n_kv_heads, head_dim]     any strides
//   out  v_cache      [tokens or pages × page_size, n_kv_heads, head_dim_v]
//   out  rotated_q    like q
//
// An octet is eight neighbouring elements of a head. One invocation owns one of a token: those of its keys come first, then
// values, then queries. With pairs (x, y) at (2t, 2t + 1), or (t, t + rotary_dim / 2), and the angle of the position:
//   x' = x cos - y sin      y' = x sin + y cos
// What is neither rotated nor converted keeps its bits.
//
// Indices that come from the GPU are checked: a token whose page the pool does not have is not written.
//
// Variants:
//   APPENDS   keys and values are written to the cache
//   QUERIES   queries are rotated; with ROTARY
//   ROTARY    elements below rotary_dim are rotated, but for those of values
//   POSITIONS tokens have positions of their own; with ROTARY
//   SECTIONS  three each, of which every pair is turned by one; with POSITIONS
//   PAGED     the cache is in pages
//   WIDE      rows of all tensors allow accesses of 16 bytes
//   WORDS     no row of halves shares a word with another one that is written

import package::shared::batch_info::sequence_at;
import package::shared::elements::{F32, F16, f16_bits, bf16_bits};
import package::shared::new_rows::{
  Access, Numbers, Row, Stored, params, item_at, row_of, load_octet, numbers_of, rotated_of, VALUE, QUERY, NONE,
};
@if(POSITIONS) import package::shared::new_rows::at_own_position;

const WG_SIZE = 64u;

@if(WIDE)            @group(0) @binding(8) var<storage, read_write> k_cache: array<vec4u>;
@if(!WIDE && WORDS)  @group(0) @binding(8) var<storage, read_write> k_cache: array<u32>;
@if(!WIDE && !WORDS) @group(0) @binding(8) var<storage, read_write> k_cache: array<atomic<u32>>;
@if(WIDE)            @group(0) @binding(9) var<storage, read_write> v_cache: array<vec4u>;
@if(!WIDE && WORDS)  @group(0) @binding(9) var<storage, read_write> v_cache: array<u32>;
@if(!WIDE && !WORDS) @group(0) @binding(9) var<storage, read_write> v_cache: array<atomic<u32>>;
@if(WIDE)            @group(0) @binding(10) var<storage, read_write> rotated_q: array<vec4u>;
@if(!WIDE && WORDS)  @group(0) @binding(10) var<storage, read_write> rotated_q: array<u32>;
@if(!WIDE && !WORDS) @group(0) @binding(10) var<storage, read_write> rotated_q: array<atomic<u32>>;

@compute @workgroup_size(WG_SIZE)
fn append_kv(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let invocation = (workgroup_id.y * grid.x + workgroup_id.x) * WG_SIZE + local;
  let octet = invocation % params.token_octets;
  let index = invocation / params.token_octets;
  let item = index / params.item_tokens;
  if (item >= params.n_items) { return; }
  let tokens = item_at(item);
  let token = tokens.first_token + index % params.item_tokens;
  let sequence = sequence_at(tokens.sequence);
  // One call, since compilers write out what is called.
  @if(!POSITIONS) let row = row_of(sequence, token, octet);
  @if(POSITIONS)  let row = at_own_position(row_of(sequence, token, octet), tokens.sequence, sequence, token);
  if (row.kind != NONE) { write_octet(row); }
}

// Reads an octet, or those of its elements that the row has, and writes it as the type that it becomes, rotated if it is.
fn write_octet(row: Row) {
  let dim = row.dim;
  let fresh = load_octet(row, row.read_at + dim, row.head_dim - dim);
  var low = fresh.low;
  var high = fresh.high;
  @if(ROTARY)  let rotary_dim = select(2u * params.rotary_pairs, 0u, row.kind == VALUE);
  @if(!ROTARY) let rotary_dim = 0u;
  if (dim < rotary_dim || row.read_type != row.write_type) {
    var numbers = numbers_of(fresh, row.read_type);
    @if(ROTARY) if (dim < rotary_dim) { numbers = rotated_of(row, numbers); }
    let changed = stored_as(numbers, row.write_type);
    if (dim + 8u <= rotary_dim || row.read_type != row.write_type) {
      low = changed.low;
      high = changed.high;
    } else {
      // Pairs are whole words of halves.
      let word_dims = select(2u, 1u, row.write_type == F32);
      for (var i = 0u; i < 4u; i++) {
        if (dim + i * word_dims < rotary_dim) { low[i] = changed.low[i]; }
        if (dim + 4u + i < rotary_dim) { high[i] = changed.high[i]; }
      }
    }
  }
  store_octet(row, row.write_at + dim, row.head_dim - dim, Stored(low, high));
}

fn stored_as(numbers: Numbers, number_type: u32) -> Stored {
  if (number_type == F32) { return Stored(bitcast<vec4u>(numbers.low), bitcast<vec4u>(numbers.high)); }
  let low = numbers.low;
  let high = numbers.high;
  return Stored(
    vec4u(
      halves(low.x, low.y, number_type), halves(low.z, low.w, number_type),
      halves(high.x, high.y, number_type), halves(high.z, high.w, number_type),
    ),
    vec4u(),
  );
}

fn halves(x: f32, y: f32, number_type: u32) -> u32 {
  if (number_type == F16) { return f16_bits(x) | (f16_bits(y) << 16u); }
  return bf16_bits(x) | (bf16_bits(y) << 16u);
}

// Writes elements at .. at + 7, or those of them that are among the `left` ones.
fn store_octet(row: Row, at: u32, left: u32, stored: Stored) {
  @if(WIDE) {
    if (row.write_type != F32) { store(row.kind, at / 8u, stored.low); return; }
    store(row.kind, at / 4u, stored.low);
    if (left > 4u) { store(row.kind, at / 4u + 1u, stored.high); }
  }
  @if(!WIDE) {
    let low = stored.low;
    let high = stored.high;
    for (var i = 0u; i < 8u; i++) {
      if (i >= left) { break; }
      if (row.write_type == F32) {
        store(row.kind, at + i, select(high[i % 4u], low[i % 4u], i < 4u));
      } else {
        @if(WORDS) if (i % 2u == 0u) { store(row.kind, (at + i) / 2u, low[i / 2u]); }
        @if(!WORDS) store_half(row.kind, at + i, (low[i / 2u] >> (i % 2u * 16u)) & 0xffffu);
      }
    }
  }
}

fn store(kind: u32, index: u32, value: Access) {
  @if(WIDE || WORDS) {
    @if(QUERIES && APPENDS) if (kind == QUERY) { rotated_q[index] = value; return; }
    @if(APPENDS) { if (kind == VALUE) { v_cache[index] = value; } else { k_cache[index] = value; } }
    @else rotated_q[index] = value;
  }
  @if(!WIDE && !WORDS) {
    @if(QUERIES && APPENDS) if (kind == QUERY) { atomicStore(&rotated_q[index], value); return; }
    @if(APPENDS) { if (kind == VALUE) { atomicStore(&v_cache[index], value); } else { atomicStore(&k_cache[index], value); } }
    @else atomicStore(&rotated_q[index], value);
  }
}

// The other half of the word may belong to another row or lie outside the tensor: each half is set by atomics, which
// leave it as it is.
@if(!WIDE && !WORDS) fn store_half(kind: u32, at: u32, bits: u32) {
  let shift = at % 2u * 16u;
  let kept = 0xffff0000u >> shift;
  let word = at / 2u;
  @if(QUERIES && APPENDS) if (kind == QUERY) {
    atomicAnd(&rotated_q[word], kept);
    atomicOr(&rotated_q[word], bits << shift);
    return;
  }
  @if(APPENDS) {
    if (kind == VALUE) {
      atomicAnd(&v_cache[word], kept);
      atomicOr(&v_cache[word], bits << shift);
    } else {
      atomicAnd(&k_cache[word], kept);
      atomicOr(&k_cache[word], bits << shift);
    }
  }
  @else {
    atomicAnd(&rotated_q[word], kept);
    atomicOr(&rotated_q[word], bits << shift);
  }
}
