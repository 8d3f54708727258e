import type { MaskMod, ScoreMod } from '../../src/index.js';
import type { ModOptions } from '../../src/reference/attention.js';
import type { Tensor } from '../../src/core/tensor.js';

// Functions of a user's own, in WGSL and for the reference.

export type RunScore = NonNullable<ModOptions['scoreMod']>;
export type RunMask = NonNullable<ModOptions['maskMod']>;

/** c·tanh(s/c), by a series where 1 − 2 / (e²ˣ + 1) cancels. */
export function softcapMod(cap: number): { readonly mod: ScoreMod; readonly run: RunScore } {
  const code = `
fn tanh_of(x: f32) -> f32 {
  if (abs(x) < 0.1) { return x * (1.0 + x * x * (x * x * (2.0 / 15.0) - 1.0 / 3.0)); }
  return 1.0 - 2.0 / (exp2(clamp(x, -20.0, 20.0) * 2.8853900817779268) + 1.0);
}
fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32 {
  return mod_params[0] * tanh_of(score * mod_params[1]);
}`;
  return {
    mod: { name: 'softcap', code, params: [cap, 1 / cap] },
    run: (score) => cap * Math.tanh(score / cap),
  };
}

/** A penalty by distance, with a slope for each head. */
export function alibiMod(slopes: Tensor): ScoreMod {
  const code = `
fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32 {
  return score - slopes[h] * f32(abs(q - k));
}`;
  return { name: 'alibi', code, tensors: { slopes } };
}

/** The last `width` keys, one's own included. */
export function windowMod(width: number): { readonly mod: MaskMod; readonly run: RunMask } {
  const code = `
fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool {
  return k <= q && q - k < i32(mod_params[0]);
}`;
  return {
    mod: { name: 'window', code, params: [width] },
    run: (_b, _h, q, k) => k <= q && q - k < width,
  };
}

/** Documents of `length` tokens, one after another. */
export function documentsMod(length: number): { readonly mod: MaskMod; readonly run: RunMask } {
  const code = `
fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool {
  let length = i32(mod_params[0]);
  return k <= q && q / length == k / length;
}`;
  return {
    mod: { name: 'documents', code, params: [length] },
    run: (_b, _h, q, k) => k <= q && Math.floor(q / length) === Math.floor(k / length),
  };
}
