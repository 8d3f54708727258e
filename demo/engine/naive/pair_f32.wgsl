// pair_f32: two neighbouring elements of a head.

alias Pair = vec2f;

fn unpacked(pair: Pair) -> vec2f {
  return pair;
}

fn packed(elements: vec2f) -> Pair {
  return elements;
}
