// scores: what scores, their maxima and weights are: numbers in base 2, since exp2 is what a GPU has; an lse is a natural
// log.

import package::shared::elements::MINUS_INFINITY;

const LOG2_E = 1.4426950408889634;
const LN_2 = 0.6931471805599453;
// The score of a key that a row may not see, and where the row's maximum starts: finite, too far apart for any exponent to
// bridge, and below the lowest score, which a bias of -1e30 gives.
const MASKED = -1e38;
const NO_MAXIMUM = -1e37;

// tanh for the soft cap of scores. The built-in tanh may be off by 1e-5, which a cap of 50 would show.
fn capped(x: vec4f) -> vec4f {
  let grown = exp2(clamp(x, vec4f(-20), vec4f(20)) * 2.8853900817779268);  // e^2x
  // Near zero the difference from 1 has lost its digits, which a high cap would show: the series has them.
  let squared = x * x;
  let series = x * (1.0 + squared * (squared * (2.0 / 15.0) - 1.0 / 3.0));
  return select(1.0 - 2.0 / (grown + 1.0), series, abs(x) < vec4f(0.1));
}

// A sink's bits as one more part of a row, maximum and total: (NO_MAXIMUM, 0) of a head without one, whose sink is -inf.
fn sink_part(bits: u32) -> vec2f {
  if (bits == MINUS_INFINITY) { return vec2f(NO_MAXIMUM, 0.0); }
  return vec2f(bitcast<f32>(bits) * LOG2_E, 1.0);
}
