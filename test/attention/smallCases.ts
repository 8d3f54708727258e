import type { KvCacheCase } from './kvCacheCase.js';
import type { VarlenCase } from './varlenCase.js';

/** The end of a prompt, and a token. */
export const SMALL_VARLEN: VarlenCase = {
  why: 'small',
  lengths: [
    [20, 33],
    [1, 40],
  ],
  heads: [4, 2],
  headDim: 64,
  dtype: 'f32',
  causal: true,
};

/** A new token each: after many, after few, and the first one. */
export const SMALL_DECODE: KvCacheCase = {
  why: 'small',
  lengths: [
    [203, 1, 1],
    [64, 1, 1],
    [0, 1, 1],
  ],
  heads: [4, 1],
  headDim: 64,
  dtype: 'f32',
  causal: true,
  rotary: { dim: 32, interleaved: true },
};
