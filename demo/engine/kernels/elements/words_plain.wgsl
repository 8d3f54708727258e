// words_plain: a word of f32, f16 or bf16 is a quad of weights, and words are in the order of the inputs.

alias Part = Word;

const PART_QUADS = 1u;
const WORD_QUADS = 1u;
const SCALED = false;

fn first_part(word: Word) -> Part {
  return word;
}

fn turned(word: Word) -> Word {
  return word;
}

fn weight_quad(word: Word, place: u32) -> vec4f {
  return part_quad(word, place);
}

fn first_quad(at: u32) -> u32 {
  return at;
}

fn quad_step(at: u32) -> u32 {
  return 1u;
}

fn word_of(quad: u32) -> WordPlace {
  return WordPlace(quad, 0u);
}

fn weight_scale(row: u32, group: u32) -> f32 {
  return 1.0;
}

struct WordPlace {
  at: u32,
  place: u32,
}
