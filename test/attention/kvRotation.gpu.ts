import { createRuntime } from '../../src/index.js';
import type { GpuCase } from '../platforms/gpuCase.js';
import { attentionCases, GPU, type On } from './attentionCases.js';
import { checkKvCache, type KvCacheCase } from './kvCacheCase.js';
import { checkVarlen, type VarlenCase } from './varlenCase.js';
import { checkKvCacheWeights, checkVarlenWeights } from './weightsCase.js';

/** Cached keys, queries and new tokens. */
const MIXED = [
  [70, 3, 3],
  [0, 5, 5],
  [31, 1, 1],
  [9, 0, 2],
] as const;

const STEPS = [
  [203, 1, 1],
  [0, 1, 1],
  [32, 1, 1],
] as const;

/** Nothing is appended. */
const CACHED = [
  [203, 1, 0],
  [40, 1, 0],
] as const;

const CHUNKS = [
  [96, 40, 40],
  [40, 40, 40],
] as const;

const HALF = { dim: 16, interleaved: true };
const WHOLE = { dim: 32, interleaved: false };
const turned = { kvRotation: 'hadamard' } as const;

// prettier-ignore
const cached: readonly (KvCacheCase & On)[] = [
  { why: 'i8, a cache that is there', lengths: CACHED, heads: [4, 2], headDim: 32, dtype: 'f32', kvDType: 'i8' },
  { why: 'i8, steps in rows', lengths: STEPS, heads: [4, 2], headDim: 32, dtype: 'f32', kvDType: 'i8', causal: true },
  { why: 'i8, rotated, f16, in pages', lengths: STEPS, heads: [4, 2], headDim: 32, dtype: 'f16', kvDType: 'i8', scaleDType: 'f16', rotary: WHOLE, pageSize: 16, causal: true },
  { why: 'i8, ragged, other heads of values, any bytes', lengths: MIXED, ragged: true, heads: [4, 2], headDim: 32, headDimV: 4, dtype: 'bf16', kvDType: 'i8', rotary: HALF, gap: 1, pageSize: 3, causal: true },
  { why: 'i8, heads of one and two elements', lengths: MIXED, ragged: true, heads: [2, 1], headDim: 2, headDimV: 1, dtype: 'f32', kvDType: 'i8', causal: true },
  { why: 'i8, prompts', lengths: CHUNKS, heads: [4, 1], headDim: 128, dtype: 'f32', newDType: 'f16', kvDType: 'i8', pageSize: 16, causal: true, sinks: true },
  { why: 'i8, split, pages that are not there', lengths: STEPS, heads: [4, 2], headDim: 128, dtype: 'f16', kvDType: 'i8', pageSize: 4, numSplits: 3, onGpu: true, missing: 'pages' },
  { why: 'i8, a shared prefix', lengths: [[200, 1, 1], [170, 1, 1], [161, 1, 1], [192, 1, 1]], heads: [4, 2], headDim: 32, dtype: 'f16', kvDType: 'i8', pageSize: 16, sharedPrefix: 160, rotary: WHOLE, causal: true },
  { why: 'i8, positions and a tree', lengths: [[70, 5, 5], [9, 5, 5]], heads: [4, 2], headDim: 32, dtype: 'f32', kvDType: 'i8', rotary: WHOLE, positions: 'any', tree: 'branches' },
  { why: 'i8, sections of positions', lengths: [[70, 5, 5], [9, 5, 5]], heads: [4, 2], headDim: 32, dtype: 'f32', kvDType: 'i8', rotary: { ...WHOLE, sections: 'in turns' }, positions: 'any', onGpu: true },
  { why: 'i4, steps in rows', lengths: STEPS, heads: [4, 2], headDim: 64, dtype: 'f32', kvDType: 'i4', causal: true },
  { why: 'i4, the largest heads', lengths: STEPS, heads: [2, 1], headDim: 512, headDimV: 512, dtype: 'f16', kvDType: 'i4', scaleDType: 'f16', causal: true },
  { why: 'i4, rotated, ragged, in pages', lengths: MIXED, ragged: true, heads: [4, 2], headDim: 128, headDimV: 32, dtype: 'f16', kvDType: 'i4', scaleDType: 'f16', rotary: HALF, pageSize: 16, causal: true },
  { why: 'i4, prompts of GPUs', ...GPU, lengths: CHUNKS, heads: [4, 2], headDim: 64, dtype: 'f32', kvDType: 'i4', causal: true, numSplits: 2 },
  { why: 'e4m3, rotated, any bytes', lengths: MIXED, ragged: true, heads: [4, 2], headDim: 32, dtype: 'f32', kvDType: 'e4m3', rotary: HALF, gap: 3, pageSize: 3, causal: true },
  { why: 'e4m3, scales and lengths on the GPU', lengths: STEPS, heads: [4, 2], headDim: 32, dtype: 'bf16', newDType: 'f32', kvDType: 'e4m3', rotary: WHOLE, pageSize: 4, onGpu: true, missing: 'pages' },
];

// prettier-ignore
const ragged: readonly VarlenCase[] = [
  { why: 'steps', lengths: [[1, 203], [1, 40], [1, 0]], heads: [4, 2], headDim: 32, dtype: 'f32', kvDType: 'i8', pageSize: 16, causal: true },
  { why: 'prompts with gaps', lengths: [[40, 70], [17, 17], [0, 5]], heads: [4, 2], headDim: 32, headDimV: 64, dtype: 'f16', kvDType: 'i4', pageSize: 4, gap: 3, causal: true },
  { why: 'gaps of halves, lengths on the GPU', lengths: [[3, 70], [1, 17]], heads: [2, 2], headDim: 64, headDimV: 16, dtype: 'bf16', kvDType: 'e4m3', pageSize: 4, gap: 1, onGpu: true, numSplits: 2, softcap: 15 },
];

const weights: GpuCase[] = [
  {
    name: 'attnWeights of a cache, rotated',
    async run(t) {
      const runtime = createRuntime(await t.device('full'));
      const kvCase = { why: '', lengths: STEPS, heads: [4, 2], headDim: 32, dtype: 'f32' } as const;
      await checkKvCacheWeights(runtime, {
        ...kvCase,
        kvDType: 'i8',
        rotary: WHOLE,
        causal: true,
        ...turned,
      });
      runtime.destroy();
    },
  },
  {
    name: 'attnWeights of pages',
    async run(t) {
      const runtime = createRuntime(await t.device('full'));
      const { why, ...varlen } = ragged[1]!;
      await checkVarlenWeights(runtime, { why, ...varlen, ...turned });
      runtime.destroy();
    },
  },
];

export const cases: GpuCase[] = [
  ...attentionCases(cached, (runtime, kvCase) => checkKvCache(runtime, { ...kvCase, ...turned })),
  ...attentionCases(
    ragged,
    (runtime, varlen) => checkVarlen(runtime, { ...varlen, ...turned }),
    'attnVarlen, ',
  ),
  ...weights,
];
