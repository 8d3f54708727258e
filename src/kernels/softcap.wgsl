// softcap: tanh for the soft cap of scores. The built-in tanh may be off by 1e-5, which a cap of 50 would show.

fn capped(x: vec4f) -> vec4f {
  let grown = exp2(clamp(x, vec4f(-20), vec4f(20)) * 2.8853900817779268);  // e^2x
  return 1.0 - 2.0 / (grown + 1.0);
}
