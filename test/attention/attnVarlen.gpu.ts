import { attentionCases, type On } from './attentionCases.js';
import { checkVarlen, type VarlenCase } from './varlenCase.js';

/** Prompts of all kinds beside decoding sequences: empty, of one token, more queries than keys. */
const RAGGED = [
  [113, 203],
  [0, 17],
  [1, 1],
  [40, 7],
  [1, 130],
  [5, 0],
  [64, 64],
] as const;

/** Short sequences around the edges of a tile of 32 keys. */
const EDGES = [
  [31, 33],
  [33, 31],
  [3, 32],
  [65, 65],
] as const;

// prettier-ignore
const rows: readonly (VarlenCase & On)[] = [
  // One pipeline, every mask.
  { why: 'neither mask nor group', device: 'full', lengths: RAGGED, heads: [2, 2], headDim: 64, dtype: 'f32' },
  { why: 'causal, groups of three', device: 'full', lengths: RAGGED, heads: [6, 2], headDim: 64, dtype: 'f32', causal: true },
  { why: 'a group bigger than a tile of rows', device: 'full', lengths: EDGES, heads: [40, 1], headDim: 64, dtype: 'f32', causal: true },
  { why: 'window on both sides', device: 'full', lengths: RAGGED, heads: [4, 2], headDim: 64, dtype: 'f32', windowSize: [5, 3] },
  { why: 'window of the own position only', device: 'full', lengths: EDGES, heads: [2, 1], headDim: 64, dtype: 'f32', windowSize: [0, 0] },
  { why: 'a window that begins beyond all keys', device: 'full', lengths: [[8, 300]], heads: [2, 1], headDim: 64, dtype: 'f32', windowSize: [70, -1] },
  { why: 'causal window skips tiles', device: 'full', lengths: [[200, 333]], heads: [2, 1], headDim: 64, dtype: 'f32', causal: true, windowSize: [40, -1] },
  { why: 'chunks', device: 'full', lengths: RAGGED, heads: [4, 2], headDim: 64, dtype: 'f32', causal: true, attentionChunk: 48 },
  { why: 'chunks of one, without causal order', device: 'full', lengths: EDGES, heads: [2, 2], headDim: 64, dtype: 'f32', attentionChunk: 1 },
  { why: 'sinks, also for rows without keys', device: 'full', lengths: RAGGED, heads: [4, 2], headDim: 64, dtype: 'f32', causal: true, sinks: true },
  { why: 'heads without a sink, also for rows without keys', device: 'full', lengths: RAGGED, heads: [4, 2], headDim: 64, dtype: 'f32', causal: true, sinks: 'some heads' },
  { why: 'only part of the keys', device: 'full', lengths: RAGGED, heads: [4, 2], headDim: 64, dtype: 'f32', causal: true, partlyUsed: true },
  { why: 'lengths and sinks on the GPU', device: 'full', lengths: RAGGED, heads: [4, 2], headDim: 64, dtype: 'f32', causal: true, sinks: true, partlyUsed: true, onGpu: true },
  { why: 'a scale below zero', device: 'full', lengths: EDGES, heads: [2, 2], headDim: 64, dtype: 'f32', softmaxScale: -0.3 },
  { why: 'a scale of zero weighs all keys alike', device: 'full', lengths: EDGES, heads: [2, 2], headDim: 64, dtype: 'f32', softmaxScale: 0, causal: true },
  { why: 'raw scores near ±3e5', device: 'full', lengths: EDGES, heads: [2, 2], headDim: 64, dtype: 'f32', magnitude: 4e4 },
  { why: 'gaps between tokens and heads, 16-byte aligned', device: 'full', lengths: EDGES, heads: [4, 2], headDim: 64, dtype: 'f32', causal: true, gap: 8 },
  { why: 'many sequences', device: 'full', lengths: Array.from({ length: 70 }, (_, b) => [b % 5, (b * 7) % 40] as const), heads: [2, 2], headDim: 64, dtype: 'f32', causal: true },

  // Storage types, pages and head sizes on a device with f16 and subgroups.
  { why: 'tiles in f16', device: 'full', lengths: RAGGED, heads: [8, 2], headDim: 64, dtype: 'f16', causal: true },
  { why: 'tiles in f16, lengths on the GPU', device: 'full', lengths: RAGGED, heads: [8, 2], headDim: 64, dtype: 'f16', causal: true, onGpu: true },
  { why: 'tiles in f16, some heads have no sink, on the GPU', device: 'full', lengths: RAGGED, heads: [8, 2], headDim: 64, dtype: 'f16', causal: true, sinks: 'some heads', onGpu: true },
  { why: 'pages bigger than a tile', device: 'full', lengths: RAGGED, heads: [4, 2], headDim: 96, dtype: 'bf16', causal: true, pageSize: 128 },
  { why: 'pages of three, padded head', device: 'full', lengths: RAGGED, heads: [4, 2], headDim: 80, dtype: 'bf16', causal: true, pageSize: 3 },
  { why: 'pages of one, tables on the GPU', device: 'full', lengths: EDGES, heads: [4, 2], headDim: 72, dtype: 'bf16', windowSize: [9, 9], pageSize: 1, onGpu: true },
  { why: 'softcap, keys far apart', device: 'full', lengths: EDGES, heads: [4, 4], headDim: 128, dtype: 'f16', causal: true, softcap: 15, windowSize: [60, -1] },
  { why: 'ALiBi per sequence', device: 'full', lengths: RAGGED, heads: [3, 1], headDim: 80, dtype: 'f32', causal: true, alibi: 'per sequence' },
  { why: 'ALiBi per head, both sides, slopes on the GPU', device: 'full', lengths: EDGES, heads: [3, 1], headDim: 80, dtype: 'f32', alibi: 'per head', onGpu: true },
  { why: 'odd head sizes, values wider than keys', device: 'full', lengths: EDGES, heads: [4, 2], headDim: 40, headDimV: 111, dtype: 'f32', causal: true, gap: 1 },
  { why: 'odd head of halves, odd gaps', device: 'full', lengths: EDGES, heads: [4, 2], headDim: 59, dtype: 'f16', causal: true, gap: 3, pageSize: 5, softcap: 50, alibi: 'per head' },
  { why: 'the largest head of keys', device: 'full', lengths: EDGES, heads: [2, 1], headDim: 256, headDimV: 32, dtype: 'f16', causal: true, softcap: 50 },
  { why: 'queries f32, keys f16', device: 'full', lengths: EDGES, heads: [2, 1], headDim: 32, dtype: 'f32', kvDType: 'f16', causal: true },

  // A device with no optional feature and the default limits.
  { why: 'plain f32', device: 'plain', lengths: RAGGED, heads: [6, 2], headDim: 64, dtype: 'f32', causal: true },
  { why: 'plain f32 with every mask', device: 'plain', lengths: RAGGED, heads: [6, 2], headDim: 64, dtype: 'f32', causal: true, windowSize: [50, -1], attentionChunk: 90, sinks: true },
  { why: 'plain bf16 in pages of 16', device: 'plain', lengths: EDGES, heads: [4, 2], headDim: 96, dtype: 'bf16', causal: true, pageSize: 16 },
  { why: 'plain f16, the largest head', device: 'plain', lengths: EDGES, heads: [2, 1], headDim: 256, dtype: 'f16', causal: true, pageSize: 16 },
  { why: 'a head of one element', device: 'plain', lengths: EDGES, heads: [2, 1], headDim: 1, dtype: 'bf16', causal: true },

  // Heads beyond 256: Gemma's 512, MLA's 576 with values of 512, odd ones.
  { why: 'heads of 512 in pages', device: 'full', lengths: EDGES, heads: [4, 2], headDim: 512, dtype: 'f16', causal: true, windowSize: [60, -1], softcap: 50, pageSize: 16 },
  { why: 'the largest heads', device: 'full', lengths: EDGES, heads: [20, 1], headDim: 576, headDimV: 512, dtype: 'bf16', causal: true, sinks: true },
  { why: 'plain f32, the largest heads, split', device: 'plain', lengths: EDGES, heads: [3, 1], headDim: 576, headDimV: 512, dtype: 'f32', causal: true, numSplits: 2, pageSize: 3, onGpu: true },
  { why: 'plain f16, an odd head of 511, odd gaps', device: 'plain', lengths: EDGES, heads: [2, 1], headDim: 511, dtype: 'f16', causal: true, gap: 1, alibi: 'per head' },
  { why: 'the tile of GPUs, the largest heads', device: 'full', runtime: { deviceClass: 'gpu' }, lengths: EDGES, heads: [4, 1], headDim: 576, headDimV: 512, dtype: 'f16', causal: true, pageSize: 16 },
  { why: 'the tile of GPUs without subgroups, an odd head of 319', device: 'plain', runtime: { deviceClass: 'gpu', tier: 'T0' }, lengths: EDGES, heads: [2, 1], headDim: 319, dtype: 'f32', causal: true },

  // Software adapters run the tiles of GPUs as well, only slowly.
  { why: 'the tile of GPUs, f32', device: 'full', runtime: { deviceClass: 'gpu' }, lengths: EDGES, heads: [6, 2], headDim: 64, dtype: 'f32', causal: true },
  { why: 'the tile of GPUs, f16 in pages', device: 'full', runtime: { deviceClass: 'gpu' }, lengths: RAGGED, heads: [4, 2], headDim: 64, dtype: 'f16', causal: true, pageSize: 16 },
];

export const cases = attentionCases(rows, checkVarlen);
