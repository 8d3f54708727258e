import { attentionCases, type On } from './attentionCases.js';
import { checkKvCache, type KvCacheCase } from './kvCacheCase.js';

/** One new token each, behind prefixes of up to 192 keys. */
const DECODE = [
  [203, 1, 1],
  [192, 1, 1],
  [255, 1, 1],
  [700, 1, 1],
] as const;

/** A chunk of a prompt, speculation and decoding, and a sequence without queries, which need not have the prefix. */
const MIXED = [
  [192, 40, 40],
  [260, 1, 1],
  [300, 3, 3],
  [17, 0, 5],
  [193, 2, 0],
] as const;

const BASE = {
  device: 'full',
  heads: [4, 1],
  headDim: 64,
  dtype: 'f32',
  pageSize: 16,
  sharedPrefix: 192,
} as const;

// prettier-ignore
const rows: readonly (KvCacheCase & On)[] = [
  { ...BASE, why: 'decode', lengths: DECODE, causal: true },
  { ...BASE, why: 'decode with rotary, sinks and a cap', lengths: DECODE, causal: true, rotary: { dim: 32, interleaved: true }, sinks: true, softcap: 15 },
  { ...BASE, why: 'a mixed batch, not causal', lengths: MIXED, ragged: true },
  { ...BASE, why: 'a mixed batch, heads without a sink', lengths: MIXED, ragged: true, causal: true, sinks: 'some heads' },
  { ...BASE, why: 'many splits', lengths: DECODE, causal: true, numSplits: 7 },
  { ...BASE, why: 'two sequences of one head', lengths: [[192, 1, 1], [200, 1, 1]], heads: [1, 1], causal: true },
  { ...BASE, why: 'all of the cache is shared, nothing new', lengths: [[192, 1, 0], [192, 1, 0], [192, 1, 0]], causal: true },
  { ...BASE, why: 'dense queries of several tokens', lengths: [[192, 3, 3], [230, 3, 3], [500, 3, 3]], heads: [6, 2], causal: true },
  { ...BASE, why: 'f16 in odd heads and pages of three, rows in any order', lengths: DECODE, heads: [3, 1], headDim: 59, headDimV: 31, dtype: 'f16', pageSize: 3, batchIdx: true, causal: true },
  { ...BASE, why: 'bf16, a large head', lengths: DECODE, heads: [8, 1], headDim: 256, dtype: 'bf16', pageSize: 64, causal: true },
  { ...BASE, why: 'f32 queries, f16 cache', lengths: DECODE, kvDType: 'f16', causal: true },
  { ...BASE, why: 'e4m3 with scales on the GPU', lengths: DECODE, kvDType: 'e4m3', causal: true, scalesOnGpu: true },
  // Where each sequence reads its own.
  { ...BASE, why: 'a window', lengths: DECODE, causal: true, windowSize: [100, -1] },
  { ...BASE, why: 'ALiBi', lengths: DECODE, causal: true, alibi: true },
  { ...BASE, why: 'left padding', lengths: DECODE, causal: true, leftpad: true },
  { ...BASE, why: 'chunks of attention', lengths: DECODE, causal: true, attentionChunk: 150 },
  { ...BASE, why: 'lengths on the GPU', lengths: DECODE, causal: true, onGpu: true },
  { ...BASE, device: 'plain', why: 'plain', lengths: DECODE, dtype: 'f16', causal: true, rotary: { dim: 64, interleaved: false } },
  { ...BASE, runtime: { deviceClass: 'gpu' }, why: 'the tile of GPUs', lengths: DECODE, dtype: 'f16', causal: true },
];

export const cases = attentionCases(rows, checkKvCache);
