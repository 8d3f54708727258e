// words_scaled: a word of i8 or i4 has 16 bytes, which are four parts of PART_QUADS quads.
//
// Eight words in a row are dealt the quads of their inputs one at a time, so that eight invocations which have a word each
// read quads of x that are beside each other. The words left at the end of a row have their own quads, one after another.
// A group is the 32 inputs whose weights are beside each other: a word of i4, two of i8. It has a scale.
//
// Scales are halves, two a word, an even number a row. They are stored times 1024, since halves below 2^-14, which those
// of small weights would be, have fewer bits or are taken for 0.

alias Word = vec4u;
alias Part = u32;

const WORD_QUADS = 4u * PART_QUADS;
const SCALED = true;

fn first_part(word: Word) -> Part {
  return word.x;
}

// The next part comes first.
fn turned(word: Word) -> Word {
  return word.yzwx;
}

fn weight_quad(word: Word, place: u32) -> vec4f {
  return part_quad(word[place / PART_QUADS], place % PART_QUADS);
}

// The quad of a row that is first in a word, and how far it is from there to the next ones.
fn first_quad(at: u32) -> u32 {
  return select(at * WORD_QUADS, at / 8u * (8u * WORD_QUADS) + at % 8u, is_dealt(at / 8u));
}

fn quad_step(at: u32) -> u32 {
  return select(1u, 8u, is_dealt(at / 8u));
}

fn word_of(quad: u32) -> WordPlace {
  let eight = quad / (8u * WORD_QUADS);
  let rest = quad % (8u * WORD_QUADS);
  if (is_dealt(eight)) { return WordPlace(eight * 8u + rest % 8u, rest / 8u); }
  return WordPlace(quad / WORD_QUADS, quad % WORD_QUADS);
}

fn is_dealt(eight: u32) -> bool {
  return (eight + 1u) * WORD_QUADS <= shape.n_groups;
}

fn weight_scale(row: u32, group: u32) -> f32 {
  let pair = unpack2x16float(scales[row * ((shape.n_groups + 1u) / 2u) + group / 2u]);
  return select(pair.x, pair.y, group % 2u == 1u) * 0.0009765625;
}

struct WordPlace {
  at: u32,
  place: u32,
}
