// masks: whether a query sees a key. Queries and keys end together, as in causal order over a cache.

// -1 leaves a side of the window open.
fn is_visible(query: u32, key: u32, q_len: u32, k_len: u32, window_left: i32, window_right: i32) -> bool {
  let distance = i32(key) - (i32(query) + i32(k_len) - i32(q_len));
  return (window_left < 0 || distance >= -window_left) && (window_right < 0 || distance <= window_right);
}
