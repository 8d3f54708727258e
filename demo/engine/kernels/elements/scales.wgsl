// scales: halves, two a word, an even number a row. They are stored times 1024, since halves below 2^-14, which those of
// small weights would be, have fewer bits or are taken for 0.

fn stored_scale(row: u32, group: u32) -> f32 {
  let pair = unpack2x16float(scales[row * ((shape.n_groups + 1u) / 2u) + group / 2u]);
  return select(pair.x, pair.y, group % 2u == 1u) * 0.0009765625;
}
