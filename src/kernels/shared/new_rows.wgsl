// new_rows: what append_kv and append_quantised share: their parameters, where the heads of new tokens and queries are read
// and written, and how they are read and rotated.
//
// Variants:
//   APPENDS   there are new keys and values
//   QUERIES   there are queries to rotate; with ROTARY
//   VALUES    of new tokens only values are bound
//   KEYS      of new tokens only keys are bound
//   ROTARY    elements below rotary_dim are rotated, but for those of values
//   POSITIONS tokens have positions of their own, for keys and queries; with ROTARY
//   SECTIONS  three each, of which every pair is turned by one; with POSITIONS
//   PAGED     the cache is in pages
//   WIDE      rows of all tensors allow accesses of 16 bytes; in append_quantised those that are read

import package::shared::batch_info::{Sequence, batch_info};
@if(POSITIONS) import package::shared::batch_info::TOKEN_PLACE_WORDS;
import package::shared::elements::{F32, F16, quad_from_f16, quad_from_bf16, word_of, number_from};

struct Params {
  n_items: u32,
  item_tokens: u32,       // tokens of an item, at most
  items_at: u32,          // the first item in batch_info, in items; 0: item b is sequence b from its first token on
  token_octets: u32,      // of a token: all
  k_octets: u32,          // its keys, which are 0 where none are appended
  kv_octets: u32,         // its keys and values
  head_dim: u32,
  head_dim_v: u32,
  new_type: u32,          // F32, F16 or BF16
  cache_type: u32,
  q_type: u32,
  new_k_token: u32,       // strides, in elements
  new_k_head: u32,
  new_v_token: u32,
  new_v_head: u32,
  k_page: u32,
  k_token: u32,
  k_head: u32,
  v_page: u32,
  v_token: u32,
  v_head: u32,
  q_token: u32,
  q_head: u32,
  page_size: u32,
  n_pages: u32,
  rotary_pairs: u32,      // rotary_dim / 2
  is_interleaved: u32,
  queries_advance: u32,   // positions of queries go up by one from token to token; else all are n_cached
  n_positions: u32,       // rows of cosines and sines
  cos_base: u32,
  cos_position: u32,
  sin_base: u32,
  sin_position: u32,
  angle_type: u32,
  scale_base: u32,        // of append_quantised: the first scale of the cache, and strides, in scales
  scale_page: u32,        // without pages, from one row of the cache to the next
  scale_token: u32,
  scale_head: u32,
  tokens_at: u32,         // with POSITIONS, in batch_info: where the tokens of sequences begin
  positions_at: u32,
  n_tokens: u32,          // of all sequences: from the first positions of tokens to the second ones
  time_pairs: u32,        // with SECTIONS, pairs that are turned by each of them
  height_pairs: u32,
  width_pairs: u32,
  pairs_take_turns: u32,
}

// Up to item_tokens of a sequence.
struct NewTokens {
  sequence: u32,
  first_token: u32,       // of the new ones of the sequence, and of its queries
}

@record(batch_info) fn new_tokens_at(index: u32) -> NewTokens;

@group(0) @binding(0) var<uniform> params: Params;
@if(WIDE) @group(0) @binding(1) var<storage, read> q: array<vec4u>;
@else     @group(0) @binding(1) var<storage, read> q: array<u32>;
@if(WIDE) @group(0) @binding(2) var<storage, read> new_k: array<vec4u>;
@else     @group(0) @binding(2) var<storage, read> new_k: array<u32>;
@if(WIDE) @group(0) @binding(3) var<storage, read> new_v: array<vec4u>;
@else     @group(0) @binding(3) var<storage, read> new_v: array<u32>;
@group(0) @binding(5) var<storage, read> cosines: array<u32>;
@group(0) @binding(6) var<storage, read> sines: array<u32>;
@group(0) @binding(7) var<storage, read> block_table: array<u32>;

// What an invocation accesses at once.
@if(WIDE) alias Access = vec4u;
@else     alias Access = u32;

const KEY = 0u;
const VALUE = 1u;
const QUERY = 2u;
const NONE = 3u;

// A head of a token, and an octet of it.
struct Row {
  kind: u32,              // KEY, VALUE, QUERY or NONE
  dim: u32,               // of the octet's first element
  read_at: u32,           // the head's first element where it is read, and where it is written
  write_at: u32,
  head_dim: u32,
  read_type: u32,
  write_type: u32,
  position: u32,
}

// Eight elements as they are stored; those of halves are in low.
struct Stored {
  low: vec4u,
  high: vec4u,
}

struct Numbers {
  low: vec4f,
  high: vec4f,
}

fn row_of(sequence: Sequence, token: u32, octet: u32) -> Row {
  @if(QUERIES && APPENDS) if (octet >= params.kv_octets) { return query_row(sequence, token, octet - params.kv_octets); }
  @if(QUERIES && !APPENDS) return query_row(sequence, token, octet);
  @if(APPENDS)             return new_row(sequence, token, octet);
  @if(!QUERIES && !APPENDS) return Row(NONE, 0u, 0u, 0u, 0u, 0u, 0u, 0u);
}

fn item_at(item: u32) -> NewTokens {
  if (params.items_at == 0u) { return NewTokens(item, 0u); }
  return new_tokens_at(params.items_at + item);
}

// Of a new token: its keys, then its values. An item may have more tokens than the sequence, lengths on the GPU may be
// shorter than those that were planned for, and there may be fewer slots than tokens.
@if(APPENDS) fn new_row(sequence: Sequence, token: u32, octet: u32) -> Row {
  let slot = sequence.n_cached + token;
  let is_value = octet >= params.k_octets;
  let head_dim = select(params.head_dim, params.head_dim_v, is_value);
  let row_octets = (head_dim + 7u) / 8u;
  let index = octet - select(0u, params.k_octets, is_value);
  let head = index / row_octets;
  var row = Row(
    KEY, index % row_octets * 8u, sequence.new_k_base + token * params.new_k_token + head * params.new_k_head,
    sequence.k_base + head * params.k_head, head_dim, params.new_type, params.cache_type, slot,
  );
  if (is_value) {
    row.kind = VALUE;
    row.read_at = sequence.new_v_base + token * params.new_v_token + head * params.new_v_head;
    row.write_at = sequence.v_base + head * params.v_head;
  }
  if (slot >= sequence.k_len) { row.kind = NONE; return row; }
  // gather_lengths leaves no keys to a sequence with a query beyond the rotary tables.
  @if(ROTARY && !POSITIONS) if (!is_value && slot >= params.n_positions) { row.kind = NONE; return row; }
  @if(!PAGED) row.write_at += slot * select(params.k_token, params.v_token, is_value);
  @if(PAGED) {
    let page = block_table[sequence.table_base + slot / params.page_size];
    if (page >= params.n_pages) { row.kind = NONE; return row; }
    row.write_at += page * select(params.k_page, params.v_page, is_value)
      + slot % params.page_size * select(params.k_token, params.v_token, is_value);
  }
  return row;
}

@if(QUERIES) fn query_row(sequence: Sequence, token: u32, octet: u32) -> Row {
  let position = sequence.n_cached + token * params.queries_advance;
  let row_octets = (params.head_dim + 7u) / 8u;
  let at = sequence.q_base + token * params.q_token + octet / row_octets * params.q_head;
  @if(!POSITIONS) let is_there = token < sequence.q_len && position < params.n_positions;
  @if(POSITIONS)  let is_there = token < sequence.q_len;
  return Row(
    select(NONE, QUERY, is_there), octet % row_octets * 8u, at, at, params.head_dim, params.q_type, params.q_type, position,
  );
}

// The row with the position that its token has, or with SECTIONS the place of the first one in batch_info. The last keys of
// a sequence are those of its query tokens. gather_tokens leaves no keys to a sequence with a token beyond the rotary tables.
@if(POSITIONS) fn at_own_position(given: Row, sequence_index: u32, sequence: Sequence, query: u32) -> Row {
  var row = given;
  if (row.kind != KEY && row.kind != QUERY) { return row; }
  var token = query;
  if (row.kind == KEY) { token = row.position + sequence.q_len - sequence.k_len; }
  if (token >= sequence.q_len) { row.kind = NONE; return row; }
  let at = params.positions_at + batch_info[params.tokens_at + sequence_index * TOKEN_PLACE_WORDS] + token;
  var position = batch_info[at];
  @if(SECTIONS)  position = max(position, max(batch_info[at + params.n_tokens], batch_info[at + 2u * params.n_tokens]));
  @if(SECTIONS)  row.position = at;
  @if(!SECTIONS) row.position = position;
  if (position >= params.n_positions) { row.kind = NONE; }
  return row;
}

// An octet with its elements below rotary_dim rotated.
@if(ROTARY) fn rotated_of(row: Row, own: Numbers) -> Numbers {
  let pairs = params.rotary_pairs;
  let low_dim = vec4u(row.dim) + vec4u(0u, 1u, 2u, 3u);
  let high_dim = low_dim + vec4u(4u);
  var other = Numbers(
    vec4f(-own.low.y, own.low.x, -own.low.w, own.low.z), vec4f(-own.high.y, own.high.x, -own.high.w, own.high.z),
  );
  var low_pair = vec4u(row.dim / 2u) + vec4u(0u, 0u, 1u, 1u);
  var high_pair = low_pair + vec4u(2u);
  if (params.is_interleaved == 0u) {
    other = other_halves_of(row);
    low_pair = select(low_dim, low_dim - vec4u(pairs), low_dim >= vec4u(pairs));
    high_pair = select(high_dim, high_dim - vec4u(pairs), high_dim >= vec4u(pairs));
  }
  let low = own.low * cos_of(row.position, low_pair) + other.low * sin_of(row.position, low_pair);
  let high = own.high * cos_of(row.position, high_pair) + other.high * sin_of(row.position, high_pair);
  return Numbers(
    select(own.low, low, low_dim < vec4u(2u * pairs)),
    select(own.high, high, high_dim < vec4u(2u * pairs)),
  );
}

// What the elements of an octet are paired with, with the sign of the sine: where x and y are rotary_dim / 2 apart.
@if(ROTARY) fn other_halves_of(row: Row) -> Numbers {
  let pairs = params.rotary_pairs;
  if (pairs % 8u == 0u) {
    let is_y = row.dim >= pairs;
    let dim = select(row.dim + pairs, row.dim - pairs, is_y);
    let other = numbers_of(load_octet(row, row.read_at + dim, row.head_dim - dim), row.read_type);
    let sign = select(-1.0, 1.0, is_y);
    return Numbers(sign * other.low, sign * other.high);
  }
  var low = vec4f();
  var high = vec4f();
  for (var i = 0u; i < 4u; i++) {
    low[i] = other_half(row, row.dim + i);
    high[i] = other_half(row, row.dim + 4u + i);
  }
  return Numbers(low, high);
}

// Beyond rotary_dim, any number of the row.
@if(ROTARY) fn other_half(row: Row, dim: u32) -> f32 {
  let pairs = params.rotary_pairs;
  let is_y = dim >= pairs;
  let at = row.read_at + min(select(dim + pairs, dim - pairs, is_y), row.head_dim - 1u);
  return select(-1.0, 1.0, is_y) * number_from(source_word(row.kind, word_of(at, row.read_type)), at, row.read_type);
}

// The positions of pairs, by the section that each belongs to; `at` is where the first one of the token is in batch_info.
@if(SECTIONS) fn positions_of(at: u32, pair: vec4u) -> vec4u {
  let last = params.rotary_pairs - 1u;
  return vec4u(
    batch_info[at + section_of(min(pair.x, last)) * params.n_tokens], batch_info[at + section_of(min(pair.y, last)) * params.n_tokens],
    batch_info[at + section_of(min(pair.z, last)) * params.n_tokens], batch_info[at + section_of(min(pair.w, last)) * params.n_tokens],
  );
}

@if(SECTIONS) fn section_of(pair: u32) -> u32 {
  if (params.pairs_take_turns != 0u) {
    if (pair % 3u == 1u && pair < 3u * params.height_pairs) { return 1u; }
    if (pair % 3u == 2u && pair < 3u * params.width_pairs) { return 2u; }
    return 0u;
  }
  return select(0u, 1u, pair >= params.time_pairs) + select(0u, 1u, pair >= params.time_pairs + params.height_pairs);
}

@if(ROTARY) fn cos_of(position: u32, pair: vec4u) -> vec4f {
  @if(SECTIONS)  let at = vec4u(params.cos_base) + positions_of(position, pair) * params.cos_position + min(pair, vec4u(params.rotary_pairs - 1u));
  @if(!SECTIONS) let at = vec4u(params.cos_base + position * params.cos_position) + min(pair, vec4u(params.rotary_pairs - 1u));
  return vec4f(cosine(at.x), cosine(at.y), cosine(at.z), cosine(at.w));
}

@if(ROTARY) fn sin_of(position: u32, pair: vec4u) -> vec4f {
  @if(SECTIONS)  let at = vec4u(params.sin_base) + positions_of(position, pair) * params.sin_position + min(pair, vec4u(params.rotary_pairs - 1u));
  @if(!SECTIONS) let at = vec4u(params.sin_base + position * params.sin_position) + min(pair, vec4u(params.rotary_pairs - 1u));
  return vec4f(sine(at.x), sine(at.y), sine(at.z), sine(at.w));
}

@if(ROTARY) fn cosine(at: u32) -> f32 {
  return number_from(cosines[word_of(at, params.angle_type)], at, params.angle_type);
}

@if(ROTARY) fn sine(at: u32) -> f32 {
  return number_from(sines[word_of(at, params.angle_type)], at, params.angle_type);
}

fn numbers_of(stored: Stored, number_type: u32) -> Numbers {
  if (number_type == F32) { return Numbers(bitcast<vec4f>(stored.low), bitcast<vec4f>(stored.high)); }
  let words = stored.low;
  let low_half = vec2u(words.x, words.y);
  let high_half = vec2u(words.z, words.w);
  if (number_type == F16) { return Numbers(quad_from_f16(low_half), quad_from_f16(high_half)); }
  return Numbers(quad_from_bf16(low_half), quad_from_bf16(high_half));
}

// Elements at .. at + 7 of what a row is read from, or those of them that are among the `left` ones.
fn load_octet(row: Row, at: u32, left: u32) -> Stored {
  @if(WIDE) {
    if (row.read_type != F32) { return Stored(source(row.kind, at / 8u), vec4u()); }
    return Stored(source(row.kind, at / 4u), source(row.kind, at / 4u + select(0u, 1u, left > 4u)));
  }
  @if(!WIDE) {
    var low = vec4u();
    var high = vec4u();
    for (var i = 0u; i < 8u; i++) {
      if (i >= left) { break; }
      let word = source_word(row.kind, word_of(at + i, row.read_type));
      if (row.read_type != F32) {
        low[i / 2u] |= ((word >> ((at + i) % 2u * 16u)) & 0xffffu) << (i % 2u * 16u);
      } else if (i < 4u) {
        low[i] = word;
      } else {
        high[i - 4u] = word;
      }
    }
    return Stored(low, high);
  }
}

fn source_word(kind: u32, word: u32) -> u32 {
  @if(!WIDE) return source(kind, word);
  @if(WIDE) {
    let four = source(kind, word / 4u);
    return four[word % 4u];
  }
}

fn source(kind: u32, index: u32) -> Access {
  @if(QUERIES && APPENDS) if (kind == QUERY) { return q[index]; }
  @if(APPENDS && !KEYS && !VALUES) if (kind == VALUE) { return new_v[index]; }
  @if(VALUES)             return new_v[index];
  @if(APPENDS && !VALUES) return new_k[index];
  @if(!APPENDS)           return q[index];
}
