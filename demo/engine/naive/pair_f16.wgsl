// pair_f16: two neighbouring elements of a head, as halves of a word.

alias Pair = u32;

fn unpacked(pair: Pair) -> vec2f {
  return unpack2x16float(pair);
}

fn packed(elements: vec2f) -> Pair {
  return f16_bits(elements.x) | (f16_bits(elements.y) << 16u);
}
