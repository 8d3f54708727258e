// hadamard: multiplies heads by the Hadamard matrix of their size n, a power of two:
//   H[i][j] = (−1)^popcount(i & j) / √n
// It is symmetric and its own inverse. A number of one element is spread over all of them, so none of the products is much
// larger than others.
//
// The low three bits of i and j are within an octet (eight neighbouring elements), the others are its index: octet a of the
// product is the sum of all octets b, each times sign_between(a, b), turned within itself. Invocations make these sums in
// registers, from heads that each reads by itself: octets that they exchanged would lie in workgroup memory, which a
// software device clears once for every few invocations, at ten times the cost of all else.

import package::shared::new_rows::Numbers;

const SQRT_2 = 1.4142135;

fn sign_between(a: u32, b: u32) -> f32 {
  // The parity of six bits: that of the upper four, as a bit of a table, is that of four bits with two of them folded in.
  let bits = a & b;
  return 1.0 - 2.0 * f32((0x6996u >> ((bits ^ (bits >> 4u)) & 15u)) & 1u);
}

// A sum of octets, turned by the three low bits, times 1 / √n; `size` is n. Elements beyond n are not to be used.
fn turned_within(octet: Numbers, size: u32) -> Numbers {
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
  // A power of two or √2 times one.
  let bits = countTrailingZeros(size);
  let factor = bitcast<f32>((127u - (bits + 1u) / 2u) << 23u) * select(1.0, SQRT_2, bits % 2u == 1u);
  return Numbers(low * factor, high * factor);
}
