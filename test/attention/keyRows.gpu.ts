import { createRuntime, type RuntimeOptions } from '../../src/index.js';
import { matricesOf, type MatrixName } from '../matrices/matrixDevices.js';
import { assert, type DeviceKind, type GpuCase } from '../platforms/gpuCase.js';
import { checkKvCache, MIXED, type KvCacheCase } from './kvCacheCase.js';
import { checkVarlen, type VarlenCase } from './varlenCase.js';
import { checkKvCacheWeights, checkVarlenWeights } from './weightsCase.js';

// Masks of bits, biases and first keys.

/** Prompts of all kinds beside decoding sequences. */
const RAGGED = [
  [113, 203],
  [0, 17],
  [1, 1],
  [40, 7],
  [1, 830],
  [5, 0],
  [64, 64],
  [2, 611],
] as const;

interface On {
  readonly device?: DeviceKind;
  readonly runtime?: RuntimeOptions;
  readonly matrices?: MatrixName;
}

const GPU: On = { runtime: { deviceClass: 'gpu' } };

const BASE = { heads: [6, 2], headDim: 64, dtype: 'f32' } as const;

// prettier-ignore
const varlen: readonly (VarlenCase & On)[] = [
  { why: 'bits', lengths: RAGGED, ...BASE, bits: 'nothing' },
  { why: 'bits that heads share, causal, pages', lengths: RAGGED, ...BASE, bits: 'heads', causal: true, pageSize: 5, softcap: 15 },
  { why: 'bits on the tiles of GPUs', ...GPU, lengths: RAGGED, ...BASE, dtype: 'f16', bits: 'nothing', causal: true, alibi: 'per head', numSplits: 3 },
  { why: 'bits of attn', lengths: [[70, 90], [70, 90]], ...BASE, dense: true, bits: 'heads' },
  { why: 'a bias', lengths: RAGGED, ...BASE, bias: 'f32' },
  { why: 'a bias of halves that heads share, causal, pages', lengths: RAGGED, ...BASE, bias: 'f16', biasSharing: 'heads', causal: true, pageSize: 16, onGpu: true },
  { why: 'a bias at any element, sinks', lengths: RAGGED, ...BASE, bias: 'bf16', biasAnywhere: true, sinks: true, softcap: 15 },
  { why: 'a bias of f16 at any element, on the tiles of GPUs', ...GPU, lengths: RAGGED, ...BASE, dtype: 'f16', bias: 'f16', biasAnywhere: true, causal: true },
  { why: 'a bias on the tiles of GPUs, split', ...GPU, lengths: RAGGED, ...BASE, dtype: 'bf16', bias: 'bf16', numSplits: 3, alibi: 'per sequence', windowSize: [60, 20] },
  { why: 'a bias of attn at any element', lengths: [[70, 91], [70, 91]], ...BASE, dense: true, bias: 'f32', biasAnywhere: true },
  { why: 'both, with every other mask', lengths: RAGGED, ...BASE, bits: 'nothing', bias: 'f16', biasSharing: 'heads', causal: true, windowSize: [70, -1], attentionChunk: 90, sinks: 'some heads', alibi: 'per head', partlyUsed: true },
  { why: 'both, on matrices', matrices: '16×16×16 of f16 by 32', lengths: RAGGED, ...BASE, dtype: 'f16', bits: 'nothing', bias: 'f16', biasAnywhere: true, causal: true },
  { why: 'both, on matrices of f32, pages', matrices: '8×8×8 of f32 by 32', lengths: RAGGED, ...BASE, bits: 'heads', bias: 'f32', pageSize: 16, softcap: 15 },
  { why: 'first keys before a window', lengths: RAGGED, ...BASE, causal: true, windowSize: [20, -1], firstKeys: 4, sinks: true },
  { why: 'many first keys before a window, split, pages', ...GPU, lengths: [...RAGGED, [1, 3000], [40, 2000]], ...BASE, dtype: 'f16', causal: true, windowSize: [100, -1], firstKeys: 333, pageSize: 16, numSplits: 3 },
  { why: 'first keys before chunks, right bound', lengths: RAGGED, ...BASE, windowSize: [-1, 5], attentionChunk: 48, firstKeys: 9, softcap: 15, alibi: 'per head' },
  { why: 'first keys, right bound alone, bits and a bias', lengths: RAGGED, ...BASE, windowSize: [30, 5], firstKeys: 70, bits: 'nothing', bias: 'f32' },
  { why: 'first keys on matrices', matrices: '16×16×16 of f16 by 32', lengths: [...RAGGED, [60, 1000]], ...BASE, dtype: 'f16', causal: true, windowSize: [100, -1], firstKeys: 70, pageSize: 16 },
  { why: 'plain: bits, end to end', device: 'plain', lengths: RAGGED, ...BASE, bits: 'heads', causal: true },
  { why: 'plain: bits and a bias', device: 'plain', lengths: RAGGED, ...BASE, bits: 'heads', bias: 'f16', sinks: true, causal: true },
  { why: 'plain: bits and a bias, pages, no lse', device: 'plain', lengths: RAGGED, ...BASE, bits: 'nothing', bias: 'f32', pageSize: 16, returnLse: false },
  { why: 'plain: a bias, end to end', device: 'plain', lengths: RAGGED, ...BASE, bias: 'bf16', biasAnywhere: true, causal: true },
];

// prettier-ignore
const kvCache: readonly (KvCacheCase & On)[] = [
  { why: 'bits over a cache, left padding', lengths: MIXED, ragged: true, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, bits: 'nothing', leftpad: true, pageSize: 3 },
  { why: 'a bias over a cache, left padding, lengths on the GPU', lengths: MIXED, ragged: true, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, bias: 'f32', biasAnywhere: true, leftpad: true, onGpu: true },
  { why: 'both, of all sequences, in a dense batch', lengths: [[203, 2, 2], [64, 2, 2], [900, 2, 2]], heads: [4, 1], headDim: 64, dtype: 'f16', causal: true, bits: 'all', bias: 'bf16', biasSharing: 'all', pageSize: 16 },
  { why: 'both, in a dense batch of single tokens, split', lengths: [[203, 1, 1], [64, 1, 1], [900, 1, 1]], heads: [8, 1], headDim: 64, dtype: 'f16', bits: 'nothing', bias: 'f16', numSplits: 3, ...GPU },
  { why: 'first keys after left padding', lengths: MIXED, ragged: true, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, windowSize: [20, -1], firstKeys: 7, leftpad: true, pageSize: 3 },
  { why: 'first keys, lengths on the GPU, chunks', lengths: [[203, 1, 1], [64, 1, 1], [1900, 1, 1]], heads: [8, 1], headDim: 64, dtype: 'f16', attentionChunk: 150, firstKeys: 40, leftpad: true, onGpu: true, numSplits: 3, ...GPU },
  { why: 'plain: bits over pages, numbers on the GPU', device: 'plain', lengths: MIXED, ragged: true, heads: [4, 2], headDim: 64, dtype: 'f32', bits: 'heads', pageSize: 3, onGpu: true, alibi: true, rotary: { dim: 32, interleaved: true } },
  { why: 'both, pages and rows that are not there', lengths: MIXED, ragged: true, heads: [4, 2], headDim: 64, dtype: 'f32', bits: 'heads', bias: 'f32', batchIdx: true, missing: 'pages', pageSize: 3, onGpu: true, rotary: { dim: 32, interleaved: true } },
];

async function run<Case extends VarlenCase | KvCacheCase>(
  t: Parameters<GpuCase['run']>[0],
  { device: kind, runtime: options, matrices, ...one }: Case & On,
  check: (runtime: ReturnType<typeof createRuntime>, one: Case) => Promise<void>,
): Promise<void> {
  const device = await t.device(kind ?? 'full');
  if (matrices) {
    const { runtime, takeKernels } = await matricesOf(device, matrices);
    takeKernels();
    await check(runtime, one as unknown as Case);
    assert(takeKernels().includes('attn_matrix'), 'attn_matrix did not run');
    return;
  }
  const runtime = createRuntime(device, options);
  try {
    await check(runtime, one as unknown as Case);
  } finally {
    runtime.destroy();
  }
}

export const cases: GpuCase[] = [
  ...varlen.map((one) => ({ name: one.why, run: (t) => run(t, one, checkVarlen) }) as GpuCase),
  ...kvCache.map((one) => ({ name: one.why, run: (t) => run(t, one, checkKvCache) }) as GpuCase),
  ...varlen
    .filter(({ matrices, numSplits }) => !matrices && !numSplits)
    .map((one) => ({ name: `weights: ${one.why}`, run: (t) => run(t, one, checkVarlenWeights) }) as GpuCase),
  ...kvCache.map(
    (one) => ({ name: `weights: ${one.why}`, run: (t) => run(t, one, checkKvCacheWeights) }) as GpuCase,
  ),
];
