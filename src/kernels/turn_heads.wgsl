// turn_heads: multiplies heads by the Hadamard matrix: queries, rotated by their positions before, into memory where
// attention reads them; or outputs, from memory where attention has left them.
//
//   in   q           [queries, n_heads, head_dim]      any strides; with OUTPUTS what attention has left, f32, laid out like out
//   in   batch_info  Sequence [B], NewTokens [n_items] see items_at; with POSITIONS see token_masks, too
//   in   cosines     [positions, rotary_dim / 2]       f32, or packed halves; only with ROTARY
//   in   sines       [positions, rotary_dim / 2]
//   out  out         like q                            f32; with OUTPUTS see out_rows
//
// LANES invocations have a head of a token; each reads all of it, and makes and writes OCTETS octets (eight neighbouring
// elements). The lse of a row does not change: what queries are multiplied by, keys of the cache are, too.
//
// Stages: 1 read, rotate, add to sums   2 turn within octets, write
//
// Variants:
//   those of out_rows
//   QUERIES     queries are turned
//   OUTPUTS     outputs are
//   ROTARY      elements of queries below rotary_dim are rotated
//   POSITIONS   tokens have positions of their own; with ROTARY
//   SECTIONS    three each, of which every pair is turned by one; with POSITIONS
//   WIDE        rows that are read allow accesses of 16 bytes

import package::shared::batch_info::{Sequence, sequence_at};
import package::shared::new_rows::{Numbers, Row, params, item_at, load_octet, numbers_of, QUERY, NONE};
@if(QUERIES)   import package::shared::new_rows::query_row;
@if(ROTARY)    import package::shared::new_rows::rotated_of;
@if(POSITIONS) import package::shared::new_rows::at_own_position;
import package::shared::hadamard::{sign_between, turned_within};
import package::shared::out_rows::write_quad;
import constants::{LANES, OCTETS};

const WG_SIZE = 64u;
const HEAD_OCTETS = LANES * OCTETS;

@compute @workgroup_size(WG_SIZE)
fn turn_heads(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let workgroup = workgroup_id.y * grid.x + workgroup_id.x;
  let lane = local % LANES;
  let head_index = workgroup * (WG_SIZE / LANES) + local / LANES;
  let n_heads = params.token_octets / HEAD_OCTETS;
  let octet = head_index % n_heads * HEAD_OCTETS;
  let index = head_index / n_heads;
  let item = index / params.item_tokens;
  if (item >= params.n_items) { return; }
  let tokens = item_at(item);
  let token = tokens.first_token + index % params.item_tokens;
  let sequence = sequence_at(tokens.sequence);
  @if(OUTPUTS)               var row = output_row(sequence, token, octet);
  @if(QUERIES && !POSITIONS) var row = query_row(sequence, token, octet);
  @if(QUERIES && POSITIONS)  var row = at_own_position(query_row(sequence, token, octet), tokens.sequence, sequence, token);
  if (row.kind == NONE) { return; }

  @registers var low: array<vec4f, OCTETS>;
  @registers var high: array<vec4f, OCTETS>;
  for (var k = 0u; k < HEAD_OCTETS; k++) {
    row.dim = k * 8u;
    let read = numbers_at(row);
    @unroll for (var i = 0u; i < OCTETS; i++) {
      let sign = sign_between(lane + i * LANES, k);
      low[i] += sign * read.low;
      high[i] += sign * read.high;
    }
  }
  @unroll for (var i = 0u; i < OCTETS; i++) {
    let own = turned_within(Numbers(low[i], high[i]), params.head_dim);
    let dim = (lane + i * LANES) * 8u;
    write_quad(row.write_at, dim, row.head_dim, own.low);
    write_quad(row.write_at, dim + 4u, row.head_dim, own.high);
  }
}

// The head that begins with an octet, of what attention has left for a query token.
@if(OUTPUTS) fn output_row(sequence: Sequence, token: u32, octet: u32) -> Row {
  let at = sequence.out_base + token * params.q_token + octet / HEAD_OCTETS * params.q_head;
  let kind = select(NONE, QUERY, token < sequence.q_len);
  return Row(kind, 0u, at, at, params.head_dim, params.q_type, params.q_type, 0u);
}

fn numbers_at(row: Row) -> Numbers {
  let stored = load_octet(row, row.read_at + row.dim, row.head_dim - row.dim);
  let numbers = numbers_of(stored, row.read_type);
  @if(ROTARY) if (row.dim < 2u * params.rotary_pairs) { return rotated_of(row, numbers); }
  return numbers;
}
