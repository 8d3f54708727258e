// hadamard: multiplies the heads that a workgroup holds by the Hadamard matrix of their size n, a power of two:
//   H[i][j] = (−1)^popcount(i & j) / √n
// It is symmetric and its own inverse. A number of one element is spread over all of them, so none of the products is much
// larger than others.
//
// LANES invocations, neighbours, have a head, an octet (eight neighbouring elements) each. Bit by bit of i, each element x_i
// meets the one whose index differs in that bit alone: the one without the bit becomes their sum, the other their
// difference. The low three bits are within an octet, the LANE_BITS above them between invocations.

import package::shared::new_rows::Numbers;
import constants::LANE_BITS;

// Of a workgroup of any kernel that imports this.
const TURNING_INVOCATIONS = 64u;
const SQRT_2 = 1.4142135;

// Low and high halves of octets, for two bits in turns: who is late with one may still read while others write for the next.
var<workgroup> exchanged: array<vec4f, 4u * TURNING_INVOCATIONS>;

// The octet that an invocation has, turned; `size` is n. All invocations of a workgroup must come here. Elements beyond n
// are to be 0.
fn turned(octet: Numbers, local: u32, size: u32) -> Numbers {
  var low = octet.low;
  var high = octet.high;
  if (size > 1u) {
    low = vec4f(low.x + low.y, low.x - low.y, low.z + low.w, low.z - low.w);
    high = vec4f(high.x + high.y, high.x - high.y, high.z + high.w, high.z - high.w);
  }
  if (size > 2u) {
    low = vec4f(low.xy + low.zw, low.xy - low.zw);
    high = vec4f(high.xy + high.zw, high.xy - high.zw);
  }
  if (size > 4u) {
    let sum = low + high;
    high = low - high;
    low = sum;
  }
  @unroll for (var bit = 0u; bit < LANE_BITS; bit++) {
    let first = bit % 2u * 2u * TURNING_INVOCATIONS;
    exchanged[first + local] = low;
    exchanged[first + TURNING_INVOCATIONS + local] = high;
    workgroupBarrier();
    let other = first + (local ^ (1u << bit));
    let sign = select(1.0, -1.0, (local & (1u << bit)) != 0u);
    low = exchanged[other] + sign * low;
    high = exchanged[other + TURNING_INVOCATIONS] + sign * high;
  }
  // 1 / √n, which is a power of two or √2 times one.
  let bits = countTrailingZeros(size);
  let factor = bitcast<f32>((127u - (bits + 1u) / 2u) << 23u) * select(1.0, SQRT_2, bits % 2u == 1u);
  return Numbers(low * factor, high * factor);
}
