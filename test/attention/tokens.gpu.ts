import type { GpuCase } from '../platforms/gpuCase.js';
import { sharedRuntime } from '../platforms/withRuntime.js';
import { checkKvCache, type KvCacheCase } from './kvCacheCase.js';
import { checkVarlen, type VarlenCase } from './varlenCase.js';
import { checkKvCacheWeights, checkVarlenWeights } from './weightsCase.js';

/** Sequences that decode a tree of tokens, and one that decodes one token. */
const TREES = [
  [203, 7, 7],
  [0, 5, 5],
  [64, 1, 1],
  [40, 16, 16],
] as const;

/** A tree of more than two words beside a prompt, and a sequence that has fewer keys than queries. */
const LONG = [
  [70, 120],
  [40, 40],
  [33, 20],
  [1, 90],
] as const;

/** Likewise, of tokens that are in the cache already. */
const QUANTISED_TREES = [
  [210, 7, 0],
  [5, 5, 0],
  [65, 1, 0],
  [56, 16, 0],
] as const;

/** Trees behind keys that all sequences begin with. */
const PREFIXED = [
  [270, 3, 3],
  [256, 5, 5],
  [300, 1, 1],
  [256, 16, 16],
] as const;

const TREE_HEADS = { heads: [2, 1], headDim: 32, dtype: 'f32' } as const;
const NEOX = { dim: 32, interleaved: false };
const GPTJ = { dim: 24, interleaved: true };

// prettier-ignore
const cacheRows: readonly KvCacheCase[] = [
  // Three pairs of kernels, for one head without slopes: trees, positions, and both with slopes.
  { why: 'a tree', lengths: TREES, ragged: true, ...TREE_HEADS, tree: 'branches', causal: true },
  { why: 'a tree without causal order, behind padding', lengths: TREES, ragged: true, ...TREE_HEADS, tree: 'branches', leftpad: true, windowSize: [30, 3] },
  { why: 'a tree at its depths, a window, chunks of attention, slopes', lengths: TREES, ragged: true, ...TREE_HEADS, tree: 'branches', positions: 'rising', causal: true, windowSize: [60, -1], attentionChunk: 90, alibi: true },
  { why: 'a tree at any positions, all on the GPU', lengths: TREES, ragged: true, ...TREE_HEADS, tree: 'branches', positions: 'any', windowSize: [30, 4], leftpad: true, alibi: true, onGpu: true },
  { why: 'positions in order', lengths: TREES, ragged: true, ...TREE_HEADS, positions: 'rising', causal: true, windowSize: [20, 2], rotary: NEOX },
  { why: 'positions in no order, with causal order, a window and a right bound', lengths: TREES, ragged: true, ...TREE_HEADS, positions: 'any', causal: true, windowSize: [50, 10], attentionChunk: 30, leftpad: true },
  { why: 'positions on the GPU, rotated', lengths: TREES, ragged: true, ...TREE_HEADS, positions: 'any', causal: true, rotary: GPTJ, onGpu: true },
  { why: 'a dense batch, on the GPU, rotated', lengths: [[30, 4, 4], [9, 4, 4]], ...TREE_HEADS, positions: 'any', windowSize: [20, -1], rotary: NEOX, onGpu: true },
  { why: 'a dense batch, rotated, nothing appended', lengths: [[30, 4, 0], [9, 4, 0]], ...TREE_HEADS, positions: 'rising', causal: true, rotary: NEOX },
  // With all that came beside them.
  { why: 'a tree, first keys, bits and a bias', lengths: TREES, ragged: true, ...TREE_HEADS, tree: 'branches', causal: true, windowSize: [20, 2], firstKeys: 9, bits: 'heads', bias: 'f32', leftpad: true },
  { why: 'a tree at any positions, first keys that reach into it, bits and a bias, on the GPU', lengths: TREES, ragged: true, ...TREE_HEADS, tree: 'branches', positions: 'any', windowSize: [9, 0], firstKeys: 50, bits: 'nothing', bias: 'f16', alibi: true, pageSize: 16, onGpu: true },
  { why: 'positions, first keys, causal order, in pages of i8', lengths: QUANTISED_TREES, ragged: true, ...TREE_HEADS, positions: 'any', causal: true, windowSize: [30, 3], firstKeys: 20, kvDType: 'i8', pageSize: 16 },
  { why: 'a tree in pages of i4, split', lengths: QUANTISED_TREES, ragged: true, ...TREE_HEADS, tree: 'branches', windowSize: [70, -1], firstKeys: 4, bits: 'heads', kvDType: 'i4', pageSize: 16, numSplits: 2 },
  { why: 'a tree at its depths over e4m3, all on the GPU', lengths: QUANTISED_TREES, ragged: true, ...TREE_HEADS, tree: 'branches', positions: 'rising', windowSize: [50, -1], kvDType: 'e4m3', onGpu: true },
  { why: 'a tree of large heads whose values are in keys', lengths: TREES, ragged: true, heads: [2, 1], headDim: 288, headDimV: 256, valuesInKeys: true, dtype: 'f32', tree: 'branches', positions: 'rising', causal: true, windowSize: [60, -1], rotary: NEOX, pageSize: 16 },
  { why: 'a tree at any positions behind a shared prefix', lengths: PREFIXED, ragged: true, ...TREE_HEADS, tree: 'branches', positions: 'any', causal: true, pageSize: 16, sharedPrefix: 256, rotary: NEOX },
  { why: 'a tree behind a shared prefix that is read by each, for its window', lengths: PREFIXED, ragged: true, ...TREE_HEADS, tree: 'branches', causal: true, windowSize: [250, -1], firstKeys: 3, pageSize: 16, sharedPrefix: 256 },
  { why: 'sections', lengths: TREES, ragged: true, ...TREE_HEADS, positions: 'any', tree: 'branches', windowSize: [40, -1], rotary: { ...NEOX, sections: 'behind each other' } },
  { why: 'sections that take turns, on the GPU', lengths: TREES, ragged: true, ...TREE_HEADS, positions: 'any', tree: 'branches', rotary: { ...NEOX, sections: 'in turns' }, onGpu: true },
  { why: 'sections of a dense batch, on the GPU', lengths: [[30, 20, 20], [9, 20, 20]], ...TREE_HEADS, positions: 'any', tree: 'branches', causal: true, rotary: { ...GPTJ, sections: 'in turns' }, onGpu: true },
];

// prettier-ignore
const varlenRows: readonly VarlenCase[] = [
  { why: 'trees of several words', lengths: LONG, ...TREE_HEADS, tree: 'branches', windowSize: [70, -1], sinks: true },
  { why: 'trees of several words, on the GPU', lengths: LONG, ...TREE_HEADS, tree: 'branches', causal: true, onGpu: true },
  { why: 'positions in order, causal', lengths: LONG, ...TREE_HEADS, positions: 'rising', causal: true, windowSize: [33, 5] },
  { why: 'positions in no order', lengths: LONG, ...TREE_HEADS, positions: 'any', windowSize: [33, 5], attentionChunk: 40 },
  { why: 'positions in no order, partly used, on the GPU', lengths: LONG, ...TREE_HEADS, positions: 'any', causal: true, windowSize: [33, 5], partlyUsed: true, onGpu: true },
  { why: 'positions and a tree of a dense batch', lengths: [[35, 50], [35, 50]], dense: true, ...TREE_HEADS, positions: 'any', tree: 'branches', alibi: 'per head', windowSize: [20, 20] },
  { why: 'positions and a tree of a dense batch on the GPU', lengths: [[35, 50], [35, 50]], dense: true, ...TREE_HEADS, positions: 'any', tree: 'branches', alibi: 'per sequence', windowSize: [20, 20], onGpu: true },
];

function kvCacheCase(kvCase: KvCacheCase): readonly GpuCase[] {
  return [
    {
      name: `attnWithKvCache: ${kvCase.why}`,
      run: async (t) => checkKvCache(sharedRuntime(await t.device('full')), kvCase),
    },
    {
      name: `attnWeights of attnWithKvCache: ${kvCase.why}`,
      run: async (t) => checkKvCacheWeights(sharedRuntime(await t.device('full')), kvCase),
    },
  ];
}

function varlenCase(varlen: VarlenCase): readonly GpuCase[] {
  return [
    {
      name: `attnVarlen: ${varlen.why}`,
      run: async (t) => checkVarlen(sharedRuntime(await t.device('full')), varlen),
    },
    {
      name: `attnWeights of attnVarlen: ${varlen.why}`,
      run: async (t) => checkVarlenWeights(sharedRuntime(await t.device('full')), varlen),
    },
  ];
}

export const cases: readonly GpuCase[] = [
  ...cacheRows.flatMap(kvCacheCase),
  ...varlenRows.flatMap(varlenCase),
];
