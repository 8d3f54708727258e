// weights_i4: a word of 16 bytes has 32 weights, stored plus 8.
//
// Four bits n become a number without shift or conversion: n among the lower bits of 2^23 makes 2^23 + n, four bits
// higher among those of 2^19 it makes 2^19 + n, and so on. The difference is exact.

const PART_QUADS = 2u;

fn part_quad(part: Part, place: u32) -> vec4f {
  let nibbles = vec4u(part >> (place * 16u)) & vec4u(0xfu, 0xf0u, 0xf00u, 0xf000u);
  return bitcast<vec4f>(nibbles | vec4u(0x4b000000u, 0x49000000u, 0x47000000u, 0x45000000u))
    - vec4f(8388616.0, 524296.0, 32776.0, 2056.0);
}
