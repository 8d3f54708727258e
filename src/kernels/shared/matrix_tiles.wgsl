// matrix_tiles: the tiles of attn_matrix in workgroup memory, from which subgroups load matrices: how they are laid out, and
// how eight elements become words of them.
//
// f16 has fewer digits than f32. Where results would show it, an operand is two matrices, one of its leading bits and one of
// the rest, and both are multiplied.
//
// Variants:
//   F16_TILES   operands are f16; else f32. Sums are f32 in any case
//   Q_SPLIT     queries are two matrices, which go through the tiles one after the other; Q_SCALED
//   K_SPLIT     and so are keys, side by side; KV_SCALED

import package::shared::octets::Octet;
import constants::{TILE_KEYS, M, N, K, STRIPS, PARTS, ROW_BLOCKS, OUT_BLOCKS, HEAD_STEPS};

const STRIP_ROWS = ROW_BLOCKS * M;
const TILE_ROWS = STRIPS * STRIP_ROWS;
const K_OCTETS = HEAD_STEPS * K / 8;
const V_OCTETS = OUT_BLOCKS * PARTS * N / 8;
// Tiles consist of words of 16 bytes. A word more in each line puts those of a column of the tile on different banks.
@if(F16_TILES)  const WORD = 8;
@if(!F16_TILES) const WORD = 4;
@if(K_SPLIT)  const K_LINE = 2 * K_OCTETS + 1;
@if(!K_SPLIT) const K_LINE = K_OCTETS * 8 / WORD + 1;
const V_LINE = V_OCTETS * 8 / WORD + 1;
const P_LINE = TILE_KEYS / WORD + 1;
const S_LINE = TILE_KEYS / 4 + 1;
// Where values begin in the tiles.
const VALUES = TILE_KEYS * K_LINE;

// Keys [key][dim], then values [key][dim]; before them, queries.
var<workgroup> tiles: array<vec4u, VALUES + TILE_KEYS * V_LINE>;
var<workgroup> scores: array<vec4f, TILE_ROWS * S_LINE>;   // [row][key]; then o [row][part][dim of a block]
var<workgroup> weights: array<vec4u, TILE_ROWS * P_LINE>;  // [row][key]

// Eight elements of a tile: the first word of them, and in tiles of f32 the second.
struct Words {
  low: vec4u,
  @if(!F16_TILES) high: vec4u,
}

fn words_of(octet: Octet) -> Words {
  @if(F16_TILES)  return Words(halves_of(octet.low, octet.high));
  @if(!F16_TILES) return Words(bitcast<vec4u>(octet.low), bitcast<vec4u>(octet.high));
}

@if(F16_TILES) fn halves_of(low: vec4f, high: vec4f) -> vec4u {
  return vec4u(bitcast<vec2u>(vec4<f16>(low)), bitcast<vec2u>(vec4<f16>(high)));
}

// What f16 holds of elements, whichever way a driver rounds; and the rest. Of these bits no compiler thinks that they are
// those of the elements, as of f16 that become f32 again.
@if(Q_SPLIT || K_SPLIT) fn leading_of(octet: Octet) -> Octet {
  return Octet(leading_bits(octet.low), leading_bits(octet.high));
}

@if(Q_SPLIT || K_SPLIT) fn rest_of(octet: Octet) -> Octet {
  return Octet(octet.low - leading_bits(octet.low), octet.high - leading_bits(octet.high));
}

@if(Q_SPLIT || K_SPLIT) fn leading_bits(numbers: vec4f) -> vec4f {
  return bitcast<vec4f>(bitcast<vec4u>(numbers) & vec4u(0xffffe000u));
}
