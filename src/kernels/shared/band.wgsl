// band: the interval of keys that a query sees. Causal order, windows and chunks of attention each allow an interval, so
// all of them together do.

struct Band {
  first: i32,
  last: i32,   // included; last < first: none
}

// The band of a query. `position` is that of the query among the keys (aligned bottom right). -1 leaves a side of the
// window open, and `attention_chunk` 0 means no chunks. Keys before `first_key` are padding, which is hidden, and chunks
// are counted from there.
fn visible_band(position: i32, first_key: i32, k_len: i32, left: i32, right: i32, attention_chunk: i32) -> Band {
  var band = Band(first_key, k_len - 1);
  if (left >= 0) { band.first = max(band.first, position - left); }
  if (right >= 0) { band.last = min(band.last, position + right); }
  if (attention_chunk > 0) {
    if (position < first_key) { return Band(first_key, first_key - 1); }  // in a chunk before that of any key
    let chunk_start = first_key + (position - first_key) / attention_chunk * attention_chunk;
    band.first = max(band.first, chunk_start);
    band.last = min(band.last, chunk_start + attention_chunk - 1);
  }
  return band;
}
