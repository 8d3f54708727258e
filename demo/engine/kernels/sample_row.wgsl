// sample_row: how one row is to be sampled, in each kernel of sampling.

// Written by sample.ts, field after field. Words that nothing uses fill it up to 64 bytes.
struct Row {
  scale: f32,                 // what logits are multiplied by: 1 / temperature, or 1 for a greedy row
  scale_seen_positive: f32,   // the same for tokens of the history: scale / penalty where the logit is positive
  scale_seen_negative: f32,   // scale * penalty where it is negative
  limit: f32,                 // logits are clamped to -limit ... limit, so that no product overflows
  draws: u32,                 // 0: the most likely token, else one drawn at random
  top_k: u32,                 // 0: off
  top_p: f32,                 // 2: off
  log_min_p: f32,             // 1: off
  noise_keys: vec2u,          // of (seed, position)
  penalised: u32,             // whether tokens of the history have scales of their own
  unused: u32,
  history_first: u32,         // the history: tokens that the host knows
  history_count: u32,
  ids_first: u32,             // and tokens of this step
  ids_count: u32,
}

// Numbers of a buffer and not constants, so that models with other vocabularies share the pipelines.
struct Shape {
  vocab: u32,
  row_stride: u32,
  n_slices: u32,    // that sample_scan cuts a row into
}

const WG_SIZE = 256u;

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> rows: array<Row>;

// Where the logits of a row are, in quads of four: the row's first token is element `shift` of quad `first`.
struct Place {
  first: u32,
  shift: u32,
  n_quads: u32,
}

fn place_of(row_index: u32) -> Place {
  let begin = row_index * shape.row_stride;
  let shift = begin % 4u;
  return Place(begin / 4u, shift, (shift + shape.vocab + 3u) / 4u);
}

// The words of `seen` that a row has: a bit for each element of its quads.
fn seen_words() -> u32 {
  return (shape.vocab + 3u + 31u) / 32u;
}
