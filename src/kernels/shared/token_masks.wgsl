// token_masks: which keys a query token sees where tokens have positions of their own (POSITIONS), or see each other along
// a tree (TREE). BY_TOKEN is either of them.
//
// The keys of a sequence's query tokens are its last q_len ones, its own keys. A key before them stands at its index, an
// own key at the position of its token, or at its index too where there are no positions. Windows and chunks of attention
// allow an interval of positions, a span; causal order and left padding an interval of indices, a band. A token sees the
// keys that are in both, and of its own keys only those that its row of the tree has a bit for. With a tree there is no
// causal order. With FIRST_KEYS, the first keys after the left padding are seen outside the span, too.
//
// In batch_info, behind slopes and sinks (see Params of attention):
//   tokens_at     TokenPlace [B]
//   positions_at  i32 [tokens]               with POSITIONS
//   tree_at       u32 [tokens, tree_words]   with TREE

import package::shared::attention::{params, Seen};
import package::shared::band::{Band, band_between};
@if(FIRST_KEYS) import package::shared::band::first_keys_end;
import package::shared::batch_info::{Sequence, batch_info, TOKEN_PLACE_WORDS};
import package::shared::lanes::MANY;

// Where the tokens of a sequence begin among those of all sequences, and whether their positions never fall.
@if(BY_TOKEN) struct TokenPlace {
  first: u32,
  in_order: u32,
}

@if(BY_TOKEN) fn token_place_of(sequence_index: u32) -> TokenPlace {
  let at = params.tokens_at + sequence_index * TOKEN_PLACE_WORDS;
  return TokenPlace(batch_info[at], batch_info[at + 1u]);
}

// The own keys of a sequence.
@if(BY_TOKEN) struct OwnKeys {
  first: i32,                        // below 0 where there are fewer keys than query tokens
  last: i32,
  @if(POSITIONS) positions_at: u32,  // in batch_info, of the first one
}

@if(BY_TOKEN) fn own_keys_of(sequence: Sequence, place: TokenPlace) -> OwnKeys {
  let last = i32(sequence.k_len) - 1;
  let first = last + 1 - i32(sequence.q_len);
  @if(POSITIONS)  return OwnKeys(first, last, params.positions_at + place.first);
  @if(!POSITIONS) return OwnKeys(first, last);
}

// From a position, or an index, to another one, both included; last < first: none.
@if(BY_TOKEN) struct Span {
  first: i32,
  last: i32,
}

// What a token sees.
@if(BY_TOKEN) struct TokenMask {
  span: Span,
  @if(FIRST_KEYS) head_end: i32,     // one past the first keys
  own: OwnKeys,
  position: i32,
  @if(TREE) bits_at: u32,            // in batch_info, its row of the tree
}

@if(BY_TOKEN) fn token_mask_of(sequence_index: u32, sequence: Sequence, token: u32) -> TokenMask {
  let place = token_place_of(sequence_index);
  let own = own_keys_of(sequence, place);
  let position = position_of_own(own, own.first + i32(token));
  var mask = TokenMask();
  mask.span = span_at(position, i32(sequence.first_key));
  @if(FIRST_KEYS) mask.head_end = i32(sequence.first_key) + params.first_keys;
  mask.own = own;
  mask.position = position;
  @if(TREE) mask.bits_at = params.tree_at + (place.first + token) * params.tree_words;
  return mask;
}

// The band of a token's keys: causal order and left padding.
@if(BY_TOKEN) fn index_band_of(sequence: Sequence, token: u32) -> Band {
  let last = i32(sequence.k_len) - 1;
  @if(TREE) return band_between(i32(sequence.first_key), last);
  @if(!TREE) {
    let own_index = i32(token) + i32(sequence.k_len) - i32(sequence.q_len);
    return band_between(i32(sequence.first_key), select(last, own_index, params.is_causal != 0u));
  }
}

@if(BY_TOKEN) fn position_of_own(own: OwnKeys, key: i32) -> i32 {
  @if(POSITIONS)  return bitcast<i32>(batch_info[own.positions_at + u32(key - own.first)]);
  @if(!POSITIONS) return key;
}

const LOWEST = -2147483647;
const HIGHEST = 2147483647;

// The positions that a token at a position sees.
@if(BY_TOKEN) fn span_at(position: i32, first_key: i32) -> Span {
  var span = Span(LOWEST, HIGHEST);
  if (params.window_left >= 0) { span.first = position - params.window_left; }
  if (params.window_right >= 0) { span.last = position + params.window_right; }
  if (params.attention_chunk > 0) {
    let from_padding = position - first_key;
    // Rounded down, below 0 too.
    let before = select(0, params.attention_chunk - 1, from_padding < 0);
    let chunk_start = first_key + (from_padding - before) / params.attention_chunk * params.attention_chunk;
    span.first = max(span.first, chunk_start);
    span.last = min(span.last, chunk_start + params.attention_chunk - 1);
  }
  return span;
}

// The positions of four neighbouring keys. What is behind the last key stands where that does.
@if(BY_TOKEN) fn key_positions(own: OwnKeys, key: vec4i) -> vec4i {
  @if(POSITIONS) {
    if (key.w < own.first) { return key; }
    let owned = clamp(key, vec4i(own.first), vec4i(max(own.first, own.last)));
    let position = vec4i(
      position_of_own(own, owned.x), position_of_own(own, owned.y),
      position_of_own(own, owned.z), position_of_own(own, owned.w),
    );
    return select(position, key, key < vec4i(own.first));
  }
  @if(!POSITIONS) return key;
}

// Which of four neighbouring keys of its band a token sees.
@if(BY_TOKEN) fn lets_see(mask: TokenMask, key: vec4i) -> vec4<bool> {
  @if(FIRST_KEYS)  return (in_span(mask, key) | (key < vec4i(mask.head_end))) & in_tree(mask, key);
  @if(!FIRST_KEYS) return in_span(mask, key) & in_tree(mask, key);
}

// Which of four neighbouring keys windows and chunks of attention let a token see.
@if(BY_TOKEN) fn in_span(mask: TokenMask, key: vec4i) -> vec4<bool> {
  let position = key_positions(mask.own, key);
  return (position >= vec4i(mask.span.first)) & (position <= vec4i(mask.span.last));
}

// Which of four neighbouring keys the tree lets a token see.
@if(BY_TOKEN) fn in_tree(mask: TokenMask, key: vec4i) -> vec4<bool> {
  @if(TREE) {
    if (key.w >= mask.own.first) {
      return vec4<bool>(has_bit(mask, key.x), has_bit(mask, key.y), has_bit(mask, key.z), has_bit(mask, key.w));
    }
  }
  return vec4<bool>(true);
}

@if(TREE) fn has_bit(mask: TokenMask, key: i32) -> bool {
  if (key < mask.own.first) { return true; }
  let token = u32(min(key, mask.own.last) - mask.own.first);
  return ((batch_info[mask.bits_at + token / 32u] >> (token % 32u)) & 1u) != 0u;
}

// What tokens first .. last of a sequence see. Spans of positions that never fall move forward with the token, and those
// own keys are an interval which a span allows; else every token's span counts, and any own key may be seen.
@if(BY_TOKEN) fn tokens_seen(sequence_index: u32, sequence: Sequence, first: u32, last: u32) -> Seen {
  let place = token_place_of(sequence_index);
  let own = own_keys_of(sequence, place);
  let first_key = i32(sequence.first_key);
  let in_order = place.in_order != 0u;
  let first_span = span_at(position_of_own(own, own.first + i32(first)), first_key);
  let last_span = span_at(position_of_own(own, own.first + i32(last)), first_key);
  var any = Span(min(first_span.first, last_span.first), max(first_span.last, last_span.last));
  var all = Span(max(first_span.first, last_span.first), min(first_span.last, last_span.last));
  @if(POSITIONS) {
    if (!in_order) {
      for (var token = first; token < MANY; token++) {
        if (token >= last) { break; }
        let span = span_at(position_of_own(own, own.first + i32(token)), first_key);
        any = Span(min(any.first, span.first), max(any.last, span.last));
        all = Span(max(all.first, span.first), min(all.last, span.last));
      }
    }
  }
  let first_band = index_band_of(sequence, first);
  let last_band = index_band_of(sequence, last);
  var own_any = Span(max(own.first, first_key), last_band.last);
  var own_all = Span(own_any.first, first_band.last);
  if (in_order) {
    own_any.first = max(own_any.first, first_own_from(own, any.first));
    own_any.last = min(own_any.last, first_own_beyond(own, any.last) - 1);
    own_all.first = max(own_all.first, first_own_from(own, all.first));
    own_all.last = min(own_all.last, first_own_beyond(own, all.last) - 1);
  }
  let before_any = Span(max(any.first, first_key), min(any.last, own.first - 1));
  let before_all = Span(max(all.first, first_key), min(all.last, own.first - 1));
  @if(TREE)  let all_owned = false;
  @if(!TREE) let all_owned = in_order;
  let by_any = hull_of(before_any, own_any);
  let by_all = connected(before_all, own_all, all_owned);
  var seen = Seen(band_between(by_any.first, by_any.last), band_between(by_all.first, by_all.last));
  @if(FIRST_KEYS) {
    seen.by_any.head_first = first_key;
    seen.by_any.head_end = head_end_of(sequence, own.first + i32(last));
    seen.by_all.head_first = first_key;
    seen.by_all.head_end = head_end_of(sequence, own.first + i32(first));
    // Of own keys, each token sees others.
    @if(TREE) seen.by_all.head_end = min(seen.by_all.head_end, own.first);
  }
  return seen;
}

// One past the first keys that a token sees, as far as no tree hides them.
@if(BY_TOKEN && FIRST_KEYS) fn head_end_of(sequence: Sequence, index: i32) -> i32 {
  @if(TREE)  let is_causal = false;
  @if(!TREE) let is_causal = params.is_causal != 0u;
  return first_keys_end(index, i32(sequence.first_key), i32(sequence.k_len), params.first_keys, is_causal);
}

@if(BY_TOKEN) fn is_empty(span: Span) -> bool {
  return span.last < span.first;
}

@if(BY_TOKEN) fn hull_of(a: Span, b: Span) -> Span {
  if (is_empty(a)) { return b; }
  if (is_empty(b)) { return a; }
  return Span(min(a.first, b.first), max(a.last, b.last));
}

// An interval of keys that are all in one of two, of which the first ends before the second begins.
@if(BY_TOKEN) fn connected(before: Span, own: Span, has_own: bool) -> Span {
  if (!has_own || is_empty(own)) { return before; }
  if (is_empty(before) || before.last + 1 < own.first) { return own; }
  return Span(before.first, own.last);
}

// The first own key at a position or behind it, where positions never fall; one past the last if there is none.
@if(BY_TOKEN) fn first_own_from(own: OwnKeys, position: i32) -> i32 {
  @if(!POSITIONS) return clamp(position, own.first, own.last + 1);
  @if(POSITIONS) {
    var first = own.first;
    var end = own.last + 1;
    for (var step = 0u; step < 32u; step++) {
      if (first >= end) { break; }
      let middle = first + (end - first) / 2;
      if (position_of_own(own, middle) < position) { first = middle + 1; } else { end = middle; }
    }
    return first;
  }
}

@if(BY_TOKEN) fn first_own_beyond(own: OwnKeys, position: i32) -> i32 {
  if (position == HIGHEST) { return own.last + 1; }
  return first_own_from(own, position + 1);
}
