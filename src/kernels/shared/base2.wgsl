// base2: scores, maxima and weights are in base 2, since exp2 is what a GPU has; an lse is a natural log.

const LOG2_E = 1.4426950408889634;
const LN_2 = 0.6931471805599453;
// Scores that a row may not see, and where its maximum starts: finite, apart by more than any exponent can bridge.
const MASKED = -1e30;
const NO_MAXIMUM = -1e29;
// WGSL has no infinity to write, but its bits can be.
const MINUS_INFINITY = 0xff800000u;

// A sink's bits as one more part of a row, maximum and total: (NO_MAXIMUM, 0) of a head without one, whose sink is -inf.
fn sink_part(bits: u32) -> vec2f {
  if (bits == MINUS_INFINITY) { return vec2f(NO_MAXIMUM, 0.0); }
  return vec2f(bitcast<f32>(bits) * LOG2_E, 1.0);
}
