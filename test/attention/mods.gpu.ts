import type { GpuCase } from '../platforms/gpuCase.js';
import { attentionCases, GPU, PROMPTS_AND_TOKENS, RAGGED, type On } from './attentionCases.js';
import { checkKvCache, MIXED, type KvCacheCase } from './kvCacheCase.js';
import { checkVarlen, type VarlenCase } from './varlenCase.js';
import { checkKvCacheWeights, checkVarlenWeights } from './weightsCase.js';

// scoreMod and maskMod.

interface Weighs {
  /** Whether the weights of such a call are looked at, too. */
  readonly weighs?: boolean;
}

const BASE = { heads: [6, 2], headDim: 32, dtype: 'f32' } as const;

// prettier-ignore
const varlen: readonly (VarlenCase & On & Weighs)[] = [
  { why: 'slopes beside ALiBi', lengths: RAGGED, ...BASE, scoreMod: 'slopes', alibi: 'per head', causal: true, numSplits: 3 },
  { why: 'a relative bias, pages, on the tiles of GPUs', ...GPU, lengths: PROMPTS_AND_TOKENS, ...BASE, dtype: 'f16', scoreMod: 'relative', causal: true, pageSize: 5 },
  { why: 'a cap by sequence and head', lengths: PROMPTS_AND_TOKENS, ...BASE, scoreMod: 'cap', maskMod: 'stripes', sinks: true },
  { why: 'scores that hide keys, after a bias that does', weighs: true, lengths: PROMPTS_AND_TOKENS, ...BASE, scoreMod: 'hiding', bias: 'f32', bits: 'heads' },
  { why: 'documents, lengths on the GPU', weighs: true, lengths: PROMPTS_AND_TOKENS, ...BASE, maskMod: 'documents', causal: true, pageSize: 16, onGpu: true },
  { why: 'documents of attn, a relative bias', weighs: true, lengths: [[70, 90], [70, 90]], ...BASE, dense: true, maskMod: 'documents', scoreMod: 'relative' },
  { why: 'a window and first keys', lengths: PROMPTS_AND_TOKENS, ...BASE, maskMod: 'window', windowSize: [50, -1], causal: true, firstKeys: 4 },
  { why: 'positions and a tree', weighs: true, lengths: PROMPTS_AND_TOKENS, ...BASE, scoreMod: 'slopes', maskMod: 'stripes', positions: 'rising', tree: 'branches' },
  { why: 'any positions, parameters, splits', ...GPU, lengths: PROMPTS_AND_TOKENS, ...BASE, dtype: 'bf16', scoreMod: 'scaled', maskMod: 'prefix', positions: 'any', numSplits: 3 },
  { why: 'plain: both with tensors', device: 'plain', lengths: PROMPTS_AND_TOKENS, ...BASE, scoreMod: 'relative', maskMod: 'documents', causal: true },
];

// prettier-ignore
const kvCache: readonly (KvCacheCase & On & Weighs)[] = [
  { why: 'slopes over a cache, left padding', weighs: true, lengths: MIXED, ragged: true, heads: [4, 1], headDim: 32, dtype: 'f32', causal: true, scoreMod: 'slopes', leftpad: true, pageSize: 3 },
  { why: 'documents over a cache, lengths on the GPU, rotary', weighs: true, lengths: MIXED, ragged: true, heads: [4, 2], headDim: 32, dtype: 'f32', causal: true, maskMod: 'documents', onGpu: true, rotary: { dim: 32, interleaved: true } },
  { why: 'both, i8, in a dense batch of single tokens, split', lengths: [[203, 1, 1], [64, 1, 1], [900, 1, 1]], heads: [8, 1], headDim: 32, dtype: 'f16', kvDType: 'i8', scoreMod: 'scaled', maskMod: 'stripes', numSplits: 3, ...GPU },
  { why: 'both, e4m3, in pages', lengths: MIXED, ragged: true, heads: [4, 2], headDim: 32, dtype: 'f32', kvDType: 'e4m3', causal: true, scoreMod: 'relative', maskMod: 'prefix', pageSize: 16 },
  { why: 'a shared prefix', lengths: [[203, 1, 1], [164, 1, 1], [900, 1, 1]], heads: [8, 1], headDim: 32, dtype: 'f16', causal: true, scoreMod: 'slopes', maskMod: 'stripes', pageSize: 16, sharedPrefix: 160 },
];

export const cases: GpuCase[] = [
  ...attentionCases(varlen, checkVarlen),
  ...attentionCases(kvCache, checkKvCache),
  ...attentionCases(
    varlen.filter(({ weighs }) => weighs),
    checkVarlenWeights,
    'weights: ',
  ),
  ...attentionCases(
    kvCache.filter(({ weighs }) => weighs),
    checkKvCacheWeights,
    'weights: ',
  ),
];
