// mods: functions of the caller's own, of the pairs of a query and a key. A kernel with mods has their text in place of
// this file, see mods.ts.
//
// b is the sequence, h the query head; q and k are the positions of query and key.

// The score that a natural score becomes; not above -1e30: the key is hidden.
fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32 {
  return score;
}

// Whether the query sees the key.
fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool {
  return true;
}
