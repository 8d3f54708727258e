import type { GpuCase } from '../platforms/gpuCase.js';
import { attentionCases, GPU, type On } from './attentionCases.js';
import { checkVarlen, type VarlenCase } from './varlenCase.js';
import { checkVarlenWeights } from './weightsCase.js';

// Lists of blocks of keys.

const BASE = { heads: [6, 2], headDim: 32, dtype: 'f32' } as const;
const PROMPTS = [
  [113, 203],
  [113, 203],
] as const;
const STEPS = Array.from({ length: 3 }, () => [1, 700] as const);

// prettier-ignore
const varlen: readonly (VarlenCase & On)[] = [
  { why: 'blocks as large as tiles', lengths: PROMPTS, ...BASE, blocks: 'nothing', blockSize: [32, 32] },
  { why: 'blocks of attn that heads share, causal, on the GPU', lengths: PROMPTS, ...BASE, dense: true, blocks: 'heads', blockSize: [16, 64], causal: true, blocksOnGpu: true },
  { why: 'blocks of few keys, sinks, softcap', lengths: PROMPTS, ...BASE, blocks: 'sequences', blockSize: [7, 3], softcap: 15, sinks: true },
  { why: 'blocks of one key and one query, on the GPU', lengths: [[40, 90]], ...BASE, blocks: 'all', blockSize: [1, 1], blocksOnGpu: true, alibi: 'per head' },
  { why: 'full blocks, pages, bits, a bias', lengths: PROMPTS, ...BASE, blocks: 'nothing', blockSize: [20, 50], fullBlocks: true, pageSize: 16, bits: 'heads', bias: 'f32' },
  { why: 'full blocks on the GPU, window, chunks, first keys', lengths: PROMPTS, ...BASE, blocks: 'all', blockSize: [128, 32], fullBlocks: true, blocksOnGpu: true, windowSize: [70, 20], attentionChunk: 90, firstKeys: 5 },
  { why: 'blocks of steps, pages, split', ...GPU, lengths: STEPS, ...BASE, heads: [8, 2], dtype: 'f16', blocks: 'nothing', blockSize: [128, 64], numSplits: 3, pageSize: 16, blocksOnGpu: true },
  { why: 'blocks of steps', lengths: STEPS, ...BASE, blocks: 'sequences', blockSize: [1, 40], positions: 'any', tree: 'branches' },
  { why: 'small blocks on the tiles of GPUs', ...GPU, lengths: PROMPTS, ...BASE, dtype: 'f16', blocks: 'nothing', blockSize: [16, 16], causal: true, numSplits: 3 },
  { why: 'full blocks spare maskMod', lengths: PROMPTS, ...BASE, blocks: 'nothing', blockSize: [32, 64], fullBlocks: true, maskMod: 'stripes', pageSize: 16 },
  { why: 'full blocks on the GPU spare maskMod, steps, a scoreMod', ...GPU, lengths: STEPS, ...BASE, dtype: 'f16', blocks: 'heads', blockSize: [1, 50], fullBlocks: true, blocksOnGpu: true, maskMod: 'stripes', scoreMod: 'relative' },
  { why: 'no block is full, maskMod, bits', lengths: PROMPTS, ...BASE, blocks: 'all', blockSize: [16, 16], maskMod: 'stripes', bits: 'heads' },
  { why: 'no query', lengths: [[0, 20]], ...BASE, blocks: 'all' },
  { why: 'no key', lengths: [[20, 0]], ...BASE, blocks: 'nothing', blocksOnGpu: true },
  { why: 'plain: blocks', device: 'plain', lengths: PROMPTS, ...BASE, blocks: 'nothing', blockSize: [32, 32], causal: true },
  { why: 'plain: blocks, pages', device: 'plain', lengths: PROMPTS, ...BASE, blocks: 'heads', blockSize: [32, 32], pageSize: 16, blocksOnGpu: true },
];

export const cases: GpuCase[] = [
  ...attentionCases(varlen, checkVarlen),
  ...attentionCases(
    varlen.filter(({ pageSize, numSplits }) => pageSize && !numSplits),
    checkVarlenWeights,
    'weights: ',
  ),
];
