import { attentionCases, RAGGED, type On } from '../attention/attentionCases.js';
import { checkVarlen, type VarlenCase } from '../attention/varlenCase.js';

// Masks, biases, block masks and functions of the caller's own in attn_matrix.

const BASE = { heads: [6, 2], headDim: 64, dtype: 'f32' } as const;
const PROMPTS = [
  [113, 203],
  [113, 203],
] as const;

// prettier-ignore
const varlen: readonly (VarlenCase & On)[] = [
  { why: 'both, on matrices', matrices: '16×16×16 of f16 by 32', lengths: RAGGED, ...BASE, dtype: 'f16', bits: 'nothing', bias: 'f16', biasAnywhere: true, causal: true },
  { why: 'both, on matrices of f32, pages', matrices: '8×8×8 of f32 by 32', lengths: RAGGED, ...BASE, bits: 'heads', bias: 'f32', pageSize: 16, softcap: 15 },
  { why: 'bits over bf16 that are scaled, pages', matrices: '16×16×16 of f16 by 32', lengths: RAGGED, ...BASE, dtype: 'bf16', bits: 'nothing', causal: true, pageSize: 16 },
  { why: 'a bias over bf16 that are scaled', matrices: '16×16×16 of f16 by 32', lengths: RAGGED, ...BASE, dtype: 'bf16', bias: 'bf16', softcap: 15 },
  { why: 'functions over bf16 that are scaled', matrices: '16×16×16 of f16 by 32', lengths: RAGGED, ...BASE, dtype: 'bf16', maskMod: 'documents', scoreMod: 'hiding' },
  { why: 'a tree on matrices', matrices: '16×16×16 of f16 by 32', lengths: RAGGED, ...BASE, dtype: 'f16', tree: 'branches', pageSize: 5 },
  { why: 'first keys on matrices', matrices: '16×16×16 of f16 by 32', lengths: [...RAGGED, [60, 1000]], ...BASE, dtype: 'f16', causal: true, windowSize: [100, -1], firstKeys: 70, pageSize: 16 },
  { why: 'a prefix that is seen, on matrices', matrices: '16×16×16 of f16 by 32', lengths: RAGGED, ...BASE, dtype: 'f16', maskMod: 'prefix', scoreMod: 'scaled' },
  { why: 'a relative bias on matrices of f32, pages', matrices: '8×8×8 of f32 by 32', lengths: RAGGED, ...BASE, scoreMod: 'relative', maskMod: 'stripes', pageSize: 16, softcap: 15 },
  { why: 'blocks on matrices', matrices: '16×16×16 of f16 by 32', lengths: PROMPTS, ...BASE, dtype: 'f16', blocks: 'nothing', blockSize: [32, 16], causal: true },
  { why: 'blocks on matrices of f32, pages, bits', matrices: '8×8×8 of f32 by 32', lengths: PROMPTS, ...BASE, blocks: 'heads', blockSize: [64, 100], pageSize: 16, bits: 'heads' },
  { why: 'full blocks on matrices spare maskMod', matrices: '16×16×16 of f16 by 32', lengths: PROMPTS, ...BASE, dtype: 'f16', blocks: 'nothing', blockSize: [64, 64], fullBlocks: true, maskMod: 'stripes' },
];

export const cases = attentionCases(varlen, checkVarlen);
