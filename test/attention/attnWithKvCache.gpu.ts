import { attentionCases, type On } from './attentionCases.js';
import { checkKvCache, type KvCacheCase, MIXED } from './kvCacheCase.js';

/** One new token each: short, long, at the edges of tiles, and the first of its sequence. */
const DECODE = [
  [203, 1, 1],
  [0, 1, 1],
  [31, 1, 1],
  [32, 1, 1],
  [700, 1, 1],
] as const;

/** Chunks of prompts. */
const CHUNKS = [
  [96, 40, 40],
  [0, 40, 40],
  [5, 40, 40],
] as const;

const HALF = { dim: 32, interleaved: true };
const WHOLE = { dim: 64, interleaved: false };

// prettier-ignore
const rows: readonly (KvCacheCase & On)[] = [
  // One pair of decode pipelines (one chunk, several), every mask.
  { why: 'decode', device: 'full', lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true },
  { why: 'decode without append', device: 'full', lengths: [[203, 1, 0], [0, 1, 0], [64, 1, 0]], heads: [4, 1], headDim: 64, dtype: 'f32' },
  { why: 'two kv heads, rows to spare', device: 'full', lengths: DECODE, heads: [6, 2], headDim: 64, dtype: 'f32', causal: true },
  { why: 'three chunks', device: 'full', lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, numSplits: 3, sinks: true },
  { why: 'more chunks than tiles', device: 'full', lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, numSplits: 50 },
  { why: 'a window', device: 'full', lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, windowSize: [100, -1], numSplits: 2 },
  { why: 'chunks of attention, sinks', device: 'full', lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, attentionChunk: 150, sinks: true },
  { why: 'rotary, interleaved, half of the head', device: 'full', lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, rotary: HALF },
  { why: 'rotary without causal order: all queries at one position', device: 'full', lengths: [[40, 3, 3], [7, 3, 3]], heads: [4, 1], headDim: 64, dtype: 'f32', rotary: WHOLE },
  { why: 'rows and leftpad', device: 'full', lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, batchIdx: true, leftpad: true, rotary: WHOLE },
  { why: 'fewer new tokens than queries', device: 'full', lengths: [[100, 3, 1], [7, 3, 1]], heads: [4, 1], headDim: 64, dtype: 'f32', causal: true },
  { why: 'chunks of prompts', device: 'full', lengths: CHUNKS, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, rotary: WHOLE },
  { why: 'a prompt split over its keys', device: 'full', lengths: CHUNKS, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, numSplits: 3, leftpad: true },
  { why: 'prompts, speculation and decoding', device: 'full', lengths: MIXED, ragged: true, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, rotary: HALF },
  { why: 'lengths on the GPU', device: 'full', lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, onGpu: true, batchIdx: true, leftpad: true, rotary: HALF },
  { why: 'ragged lengths on the GPU', device: 'full', lengths: MIXED, ragged: true, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, onGpu: true, numSplits: 2 },

  { why: 'chunks of attention count from behind leftpad', device: 'full', lengths: MIXED, ragged: true, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, attentionChunk: 20, leftpad: true },
  { why: 'chunks of attention behind leftpad on the GPU, split', device: 'full', lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, attentionChunk: 150, leftpad: true, onGpu: true, numSplits: 3 },
  { why: 'heads without a sink', device: 'full', lengths: MIXED, ragged: true, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, sinks: 'some heads' },
  { why: 'heads without a sink, sinks on the GPU, split, sequences without keys', device: 'full', lengths: [[203, 1, 0], [0, 1, 0], [64, 1, 0]], heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, sinks: 'some heads', onGpu: true, numSplits: 3 },

  // Pages and rows that do not exist.
  { why: 'pages of 16 of which some are not there', device: 'full', lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f16', causal: true, pageSize: 16, rotary: WHOLE, onGpu: true, missing: 'pages' },
  { why: 'pages of one of which some are not there, split, heads without a sink', device: 'full', lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f16', causal: true, pageSize: 1, batchIdx: true, leftpad: true, onGpu: true, missing: 'pages', numSplits: 3, sinks: 'some heads' },
  { why: 'a mixed batch in pages of three of which some are not there', device: 'full', lengths: MIXED, ragged: true, heads: [4, 1], headDim: 64, dtype: 'f16', causal: true, pageSize: 3, onGpu: true, missing: 'pages' },
  { why: 'odd heads of halves in odd pages of which some are not there', device: 'full', lengths: DECODE, heads: [3, 1], headDim: 59, headDimV: 31, dtype: 'f16', causal: true, pageSize: 3, alibi: true, softcap: 15, rotary: { dim: 34, interleaved: false }, onGpu: true, missing: 'pages' },
  { why: 'rows of the table that are not there', device: 'full', lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f16', causal: true, pageSize: 16, rotary: WHOLE, onGpu: true, batchIdx: true, missing: 'rows' },
  { why: 'rows of the cache that are not there', device: 'full', lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, onGpu: true, batchIdx: true, leftpad: true, rotary: HALF, missing: 'rows' },
  { why: 'rows of the cache that are not there, a mixed batch, sinks', device: 'full', lengths: MIXED, ragged: true, heads: [4, 1], headDim: 64, dtype: 'f32', causal: true, onGpu: true, numSplits: 2, batchIdx: true, missing: 'rows', sinks: true },

  // Pages and storage types.
  { why: 'f16 in pages of 16', device: 'full', lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f16', causal: true, pageSize: 16, rotary: WHOLE },
  { why: 'f16 in pages of one', device: 'full', lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f16', causal: true, pageSize: 1, batchIdx: true, leftpad: true },
  { why: 'f16, a mixed batch in pages of three, lengths on the GPU', device: 'full', lengths: MIXED, ragged: true, heads: [4, 1], headDim: 64, dtype: 'f16', causal: true, pageSize: 3, onGpu: true },
  { why: 'odd heads of halves in odd pages: words that two sequences share', device: 'full', lengths: DECODE, heads: [3, 1], headDim: 59, headDimV: 31, dtype: 'f16', causal: true, pageSize: 3, alibi: true, softcap: 15, rotary: { dim: 34, interleaved: false } },
  { why: 'f32 queries and new tokens, bf16 cache', device: 'full', lengths: DECODE, heads: [8, 1], headDim: 128, dtype: 'f32', kvDType: 'bf16', causal: true, pageSize: 256, rotary: { dim: 128, interleaved: true } },
  { why: 'f16 queries, bf16 new tokens, f32 cache', device: 'full', lengths: DECODE, heads: [2, 2], headDim: 32, dtype: 'f16', kvDType: 'f32', newDType: 'bf16', causal: true },

  // A device with no optional feature and the default limits.
  { why: 'plain decode', device: 'plain', lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f16', causal: true, pageSize: 16, rotary: HALF, numSplits: 2 },
  { why: 'plain prompts in pages of which some are not there', device: 'plain', lengths: CHUNKS, heads: [4, 1], headDim: 64, dtype: 'f16', causal: true, pageSize: 16, onGpu: true, missing: 'pages' },
  { why: 'plain, the largest head', device: 'plain', lengths: DECODE, heads: [2, 1], headDim: 256, dtype: 'bf16', causal: true, pageSize: 64 },

  // Heads beyond 256: one token of many heads is then a case for attn_prefill.
  { why: 'heads of 512', device: 'full', lengths: DECODE, heads: [4, 2], headDim: 512, dtype: 'f16', causal: true, pageSize: 16, rotary: { dim: 512, interleaved: false } },
  { why: 'the largest heads, a mixed batch', device: 'full', lengths: MIXED, ragged: true, heads: [16, 1], headDim: 576, headDimV: 512, dtype: 'bf16', causal: true, pageSize: 64 },
  { why: 'a token of 40 of the largest heads, split', device: 'full', lengths: DECODE, heads: [40, 1], headDim: 576, headDimV: 512, dtype: 'f16', causal: true, pageSize: 16, numSplits: 3 },
  { why: 'plain, the largest heads of f32', device: 'plain', lengths: DECODE, heads: [8, 1], headDim: 576, headDimV: 512, dtype: 'f32', causal: true, onGpu: true },
  { why: 'the tile of GPUs, the largest heads', device: 'full', runtime: { deviceClass: 'gpu' }, lengths: DECODE, heads: [8, 1], headDim: 576, headDimV: 512, dtype: 'f16', causal: true, pageSize: 16, numSplits: 2 },
  { why: 'the tile of GPUs without subgroups, heads of 512', device: 'plain', runtime: { deviceClass: 'gpu', tier: 'T0' }, lengths: DECODE, heads: [4, 1], headDim: 512, dtype: 'f16', causal: true, pageSize: 16 },

  // Values that are a part of each key, as in MLA.
  { why: 'values in keys, a mixed batch in pages', device: 'full', lengths: MIXED, ragged: true, heads: [16, 1], headDim: 576, headDimV: 512, valuesInKeys: true, dtype: 'bf16', causal: true, pageSize: 64 },
  { why: 'values in keys, in rows, rotated, numbers on the GPU', device: 'plain', lengths: DECODE, heads: [4, 1], headDim: 72, headDimV: 64, valuesInKeys: true, dtype: 'f16', kvDType: 'f32', causal: true, leftpad: true, onGpu: true, rotary: { dim: 32, interleaved: false } },
  { why: 'values in keys, rotated where they are appended', device: 'full', lengths: DECODE, heads: [4, 1], headDim: 72, headDimV: 64, valuesInKeys: true, dtype: 'f16', causal: true, pageSize: 16, rotary: { dim: 32, interleaved: true } },
  { why: 'odd values in odd keys of two heads, in pages of three, split', device: 'full', lengths: DECODE, heads: [4, 2], headDim: 59, headDimV: 31, valuesInKeys: true, dtype: 'f16', causal: true, pageSize: 3, numSplits: 3 },
  { why: 'values in keys, the tile of GPUs', device: 'full', runtime: { deviceClass: 'gpu' }, lengths: DECODE, heads: [8, 1], headDim: 576, headDimV: 512, valuesInKeys: true, dtype: 'f16', causal: true, pageSize: 16 },

  // Software adapters run the tiles of GPUs as well, only slowly.
  { why: 'the tile of GPUs', device: 'full', runtime: { deviceClass: 'gpu' }, lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f16', causal: true, pageSize: 16, numSplits: 2 },
  { why: 'the tile of GPUs, pages of which some are not there', device: 'full', runtime: { deviceClass: 'gpu' }, lengths: DECODE, heads: [4, 1], headDim: 64, dtype: 'f16', causal: true, pageSize: 3, numSplits: 2, onGpu: true, missing: 'pages' },
  { why: 'the tile of GPUs, prompts in pages of which some are not there', device: 'full', runtime: { deviceClass: 'gpu' }, lengths: CHUNKS, heads: [4, 1], headDim: 64, dtype: 'f16', causal: true, pageSize: 3, onGpu: true, missing: 'pages' },
  { why: 'the tile of GPUs without subgroups', device: 'full', runtime: { deviceClass: 'gpu', tier: 'T0' }, lengths: DECODE, heads: [2, 1], headDim: 64, dtype: 'f32', causal: true },
];

export const cases = attentionCases(rows, checkKvCache);
