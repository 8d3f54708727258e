// softcap: tanh for the soft cap of scores. The built-in tanh may be off by 1e-5, which a cap of 50 would show.

fn capped(x: vec4f) -> vec4f {
  let grown = exp2(clamp(x, vec4f(-20), vec4f(20)) * 2.8853900817779268);  // e^2x
  // Near zero the difference from 1 has lost its digits, which a high cap would show: the series has them.
  let squared = x * x;
  let series = x * (1.0 + squared * (squared * (2.0 / 15.0) - 1.0 / 3.0));
  return select(1.0 - 2.0 / (grown + 1.0), series, abs(x) < vec4f(0.1));
}
