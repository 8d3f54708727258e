import { createRuntime } from '../../src/index.js';
import { assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { attentionCases, GPU, type On } from './attentionCases.js';
import { checkKvCache, type KvCacheCase } from './kvCacheCase.js';

/** Short, long, at the edges of tiles, and without keys. */
const STEPS = [
  [203, 1, 0],
  [0, 1, 0],
  [32, 1, 0],
  [700, 1, 0],
] as const;

/** All of them long enough to be split. */
const LONG_STEPS = [
  [1900, 1, 0],
  [1300, 1, 0],
] as const;

const CHUNKS = [
  [96, 40, 0],
  [40, 40, 0],
  [5, 40, 0],
] as const;

// prettier-ignore
const rows: readonly (KvCacheCase & On)[] = [
  { why: 'i8, steps in rows', lengths: STEPS, heads: [4, 2], headDim: 32, dtype: 'f32', kvDType: 'i8' },
  { why: 'i8, steps in pages', lengths: STEPS, heads: [4, 2], headDim: 32, dtype: 'f32', kvDType: 'i8', scaleDType: 'f16', pageSize: 16, causal: true },
  { why: 'i8, steps, any bytes', lengths: STEPS, heads: [4, 2], headDim: 59, headDimV: 31, dtype: 'f32', kvDType: 'i8', gap: 1, pageSize: 3, causal: true },
  { why: 'i8, the tile of GPUs', ...GPU, lengths: STEPS, heads: [4, 2], headDim: 128, dtype: 'f32', kvDType: 'i8', causal: true },
  { why: 'i8, the tile of GPUs in pages of which some are not there', ...GPU, lengths: STEPS, heads: [4, 1], headDim: 32, dtype: 'f32', kvDType: 'i8', pageSize: 3, numSplits: 2, onGpu: true, missing: 'pages' },
  { why: 'i8, prompts', lengths: CHUNKS, heads: [4, 2], headDim: 32, dtype: 'f32', kvDType: 'i8', pageSize: 16, causal: true },
  { why: 'i8, prompts of GPUs, any bytes', ...GPU, lengths: CHUNKS, heads: [4, 2], headDim: 59, dtype: 'f32', kvDType: 'i8', gap: 3, causal: true },
  { why: 'i4, steps in rows', lengths: STEPS, heads: [4, 2], headDim: 64, dtype: 'f32', kvDType: 'i4' },
  { why: 'i4, steps in pages, strides of single elements', lengths: STEPS, heads: [4, 2], headDim: 96, headDimV: 32, dtype: 'f32', kvDType: 'i4', scaleDType: 'f16', pageSize: 3, gap: 1, causal: true },
  { why: 'i4, the tile of GPUs', ...GPU, lengths: STEPS, heads: [4, 2], headDim: 128, dtype: 'f32', kvDType: 'i4', causal: true },
  { why: 'i4, the tile of GPUs, three groups', ...GPU, lengths: STEPS, heads: [4, 2], headDim: 96, headDimV: 64, dtype: 'f32', kvDType: 'i4', scaleDType: 'f16', causal: true, pageSize: 16 },
  { why: 'i4, the tile of GPUs in pages of which some are not there', ...GPU, lengths: STEPS, heads: [4, 1], headDim: 64, dtype: 'f32', kvDType: 'i4', pageSize: 3, numSplits: 2, onGpu: true, missing: 'pages' },
  { why: 'i4, prompts', lengths: CHUNKS, heads: [4, 2], headDim: 64, headDimV: 96, dtype: 'f32', kvDType: 'i4', pageSize: 16, causal: true },
  { why: 'e4m3, steps in rows', lengths: STEPS, heads: [4, 2], headDim: 32, dtype: 'f32', kvDType: 'e4m3' },
  { why: 'e4m3, steps in pages, any bytes, scales on the GPU', lengths: STEPS, heads: [4, 2], headDim: 59, dtype: 'f32', kvDType: 'e4m3', pageSize: 3, gap: 1, onGpu: true, missing: 'pages' },
  { why: 'e4m3, the tile of GPUs, split', ...GPU, lengths: STEPS, heads: [4, 2], headDim: 128, dtype: 'f16', kvDType: 'e4m3', numSplits: 2, sinks: true },
  { why: 'e4m3, prompts', lengths: CHUNKS, heads: [4, 2], headDim: 32, dtype: 'bf16', kvDType: 'e4m3', pageSize: 16, causal: true, softcap: 15 },
];

const refusals: readonly GpuCase[] = [
  {
    name: 'a device that binds eight buffers takes any format with one more option',
    async run(t) {
      const runtime = createRuntime(await t.device('plain'));
      const small = {
        why: '',
        lengths: STEPS,
        heads: [4, 2],
        headDim: 64,
        dtype: 'f32',
      } as const;
      const paged = { ...small, pageSize: 16 };
      await checkKvCache(runtime, { ...paged, kvDType: 'e4m3', bits: 'heads' });
      for (const kvDType of ['i8', 'i4'] as const) {
        const withoutLse = { ...small, kvDType, returnLse: false };
        await checkKvCache(runtime, { ...small, kvDType });
        await checkKvCache(runtime, { ...withoutLse, pageSize: 16 });
        await checkKvCache(runtime, { ...withoutLse, bits: 'heads' });
        await checkKvCache(runtime, { ...withoutLse, bias: 'f32' });
        // merge_states writes the lse.
        await checkKvCache(runtime, { ...paged, kvDType, lengths: LONG_STEPS, numSplits: 2 });
      }
      const refused = await checkKvCache(runtime, { ...paged, kvDType: 'i8' }).catch((error: Error) => error);
      runtime.destroy();
      assertEqual(
        refused?.message,
        'attnWithKvCache: attn_decode needs 9 storage buffers with blockTable, lse, kScale, vScale, but this device binds at most 8. Ask for maxStorageBuffersPerShaderStage, or use requestDevice().',
        'the error',
      );
    },
  },
];

export const cases: GpuCase[] = [...attentionCases(rows, checkKvCache), ...refusals];
