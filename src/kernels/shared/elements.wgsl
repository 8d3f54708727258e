// elements: numbers of any type in 32-bit words. Halves are decoded by arithmetic, so that no device feature is needed.

fn quad_from_f16(words: vec2u) -> vec4f {
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}

fn quad_from_bf16(words: vec2u) -> vec4f {
  return bitcast<vec4f>(vec4u(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
}

fn half_from_f16(word: u32, odd: bool) -> f32 {
  let pair = unpack2x16float(word);
  return select(pair.x, pair.y, odd);
}

fn half_from_bf16(word: u32, odd: bool) -> f32 {
  return bitcast<f32>(select(word << 16u, word & 0xffff0000u, odd));
}

// Codes of quantised caches. A code of few bits that stands in the fraction of a power of two is added to it, if its lowest
// bit counts 1 there: so the difference from that power is the code, without shifts and conversions of integers.

// Four bytes with signs. Offset by 128 they have none.
fn quad_from_i8(word: u32) -> vec4f {
  let bytes = word ^ 0x80808080u;
  let in_fraction = vec4u(bytes, bytes, bytes >> 16u, bytes >> 16u) & vec4u(0xffu, 0xff00u, 0xffu, 0xff00u);
  let added = in_fraction | vec4u(0x4b000000u, 0x47000000u, 0x4b000000u, 0x47000000u);    // 2^23 and 2^15
  return bitcast<vec4f>(added) - vec4f(8388736.0, 32896.0, 8388736.0, 32896.0);
}

// The lower four nibbles, which are stored offset by 8.
fn quad_from_i4(word: u32) -> vec4f {
  let in_fraction = vec4u(word) & vec4u(0xfu, 0xf0u, 0xf00u, 0xf000u);
  let added = in_fraction | vec4u(0x4b000000u, 0x49000000u, 0x47000000u, 0x45000000u);    // 2^23, 2^19, 2^15 and 2^11
  return bitcast<vec4f>(added) - vec4f(8388616.0, 524296.0, 32776.0, 2056.0);
}

// Four e4m3, each times 2^-8, which is what their bits mean as halves.
fn quad_from_e4m3(word: u32) -> vec4f {
  let even = unpack2x16float(halves_from_e4m3(word << 8u));
  let odd = unpack2x16float(halves_from_e4m3(word));
  return vec4f(even.x, odd.x, even.y, odd.y);
}

const E4M3_UNIT = 256.0;

// The bytes 1 and 3 as halves. A NaN, 0x7f, is the only one that a bit carries out of its exponent.
fn halves_from_e4m3(word: u32) -> u32 {
  let magnitudes = (word & 0x7f007f00u) >> 1u;
  let nan_exponents = (magnitudes + 0x00800080u) & 0x40004000u;
  return (word & 0x80008000u) | magnitudes | nan_exponents;
}

// WGSL has no infinity to write, but its bits can be.
const MINUS_INFINITY = 0xff800000u;

// Types, for kernels that take any at run time.
const F32 = 0u;
const F16 = 1u;
const BF16 = 2u;

// The index of the word that holds element `at` of such a type.
fn word_of(at: u32, number_type: u32) -> u32 {
  return select(at, at / 2u, number_type == F16 || number_type == BF16);
}

// Element `at` of such a type, given its word.
fn number_from(word: u32, at: u32, number_type: u32) -> f32 {
  if (number_type == F16) { return half_from_f16(word, at % 2u == 1u); }
  if (number_type == BF16) { return half_from_bf16(word, at % 2u == 1u); }
  return bitcast<f32>(word);
}

// The index of the 16 bytes that hold elements at .. at + 3 of such a type; `at` is a multiple of four.
fn wide_of(at: u32, number_type: u32) -> u32 {
  return word_of(at, number_type) / 4u;
}

// Elements at .. at + 3 of such a type, given their 16 bytes.
fn quad_of(words: vec4u, at: u32, number_type: u32) -> vec4f {
  let halves = select(words.xy, words.zw, at % 8u == 4u);
  if (number_type == F16) { return quad_from_f16(halves); }
  if (number_type == BF16) { return quad_from_bf16(halves); }
  return bitcast<vec4f>(words);
}

// The 16 bits of x, rounded to nearest even. pack2x16float leaves rounding and overflow to the driver. Of each case there is
// an answer, from which one is chosen: neighbours that take different branches wait for each other.
fn f16_bits(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let magnitude = bits & 0x7fffffffu;
  let normal = (magnitude + ((magnitude >> 13u) & 1u) + 0xfffu - 0x38000000u) >> 13u;
  // Counted in steps of 2^-24, which is what numbers from 0.5 to 1 are rounded to.
  let subnormal = bitcast<u32>(bitcast<f32>(magnitude) + 0.5) - 0x3f000000u;
  var half = select(normal, subnormal, magnitude < 0x38800000u);
  half = select(half, 0x7c00u, magnitude >= 0x477ff000u);
  half = select(half, 0x7e00u, magnitude > 0x7f800000u);
  return half | ((bits >> 16u) & 0x8000u);
}

fn bf16_bits(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) { return (bits >> 16u) | 0x40u; }
  return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}
