// weights_i8: a word of 16 bytes has 16 weights, stored plus 128.
//
// A byte b becomes a number without a conversion, which some GPUs do at a quarter of the rate: among the lower bits of
// 2^23 it makes 2^23 + b, four bits higher among those of 2^19 it makes 2^19 + b, and so on. The difference is exact.

const PART_QUADS = 1u;

fn part_quad(part: Part, place: u32) -> vec4f {
  let bytes = vec4u(part, part, part >> 12u, part >> 12u) & vec4u(0xffu, 0xff00u, 0xff0u, 0xff000u);
  return bitcast<vec4f>(bytes | vec4u(0x4b000000u, 0x47000000u, 0x49000000u, 0x45000000u))
    - vec4f(8388736.0, 32896.0, 524416.0, 2176.0);
}
