// masks: the keys that a query sees, from `first` to before `end`. Queries and keys end together, as in causal order
// over a cache.

struct Visible {
  first: u32,
  end: u32,
}

// -1 leaves a side of the window open.
fn visible_keys(query: u32, q_len: u32, k_len: u32, window_left: i32, window_right: i32) -> Visible {
  let position = i32(query) + i32(k_len) - i32(q_len);
  let first = select(0, max(position - window_left, 0), window_left >= 0);
  let end = select(i32(k_len), clamp(position + window_right + 1, 0, i32(k_len)), window_right >= 0);
  return Visible(u32(first), u32(end));
}
