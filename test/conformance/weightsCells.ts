import { checkKvCacheWeights, checkVarlenWeights } from '../attention/weightsCase.js';
import { sharedRuntime } from '../platforms/withRuntime.js';
import { BATCHES, BLOCK_AXES, KEY_AXES, KEY_KERNELS, MOD_KERNELS } from './axes.js';
import type { Row } from './coveringArray.js';
import { kvCacheCase, kvCacheCells } from './kvCacheCells.js';
import type { ConformanceSuite } from './selection.js';
import { varlenCases, varlenCells } from './varlenCells.js';

// The weights of some rows of the calls that the suites of attention choose. Of what those rows share with others nothing
// depends, so batches are small.

const OF_ATTENTION = { tier: 'T1', numSplits: 0, headDimV: 'same' } as const;

/** A workgroup takes one, two, four or eight heads. */
const HEADS = [
  [6, 6],
  [6, 3],
  [6, 2],
  [5, 1],
  [9, 1],
] as readonly (readonly [number, number])[];

const VARLEN_KERNELS = {
  dtype: varlenCells.axes.dtype,
  kvDType: varlenCells.axes.kvDType,
  scaleDType: varlenCells.axes.scaleDType,
  turned: varlenCells.axes.turned,
  headDim: [32, 40, 59, 64, 128, 256, 576],
  heads: HEADS,
  gap: varlenCells.axes.gap,
  keys: varlenCells.axes.keys,
  softcapped: [false, true],
  sloped: [false, true],
  ...KEY_KERNELS,
  positioned: [false, true],
  treed: [false, true],
  ...MOD_KERNELS,
  blocked: [false, true],
} as const;

const { call, causal, window, softcap, alibi } = varlenCells.axes;
const { sinks, attentionChunk, spread, used, numbers, scores, positions, tree } = varlenCells.axes;
const VARLEN = {
  ...VARLEN_KERNELS,
  ...KEY_AXES,
  ...BLOCK_AXES,
  call,
  causal,
  window,
  softcap,
  alibi,
  sinks,
  attentionChunk,
  spread,
  used,
  numbers,
  scores,
  positions,
  tree,
  batch: [
    'single tokens',
    'single tokens of one length',
    'prompts of one length',
    'few keys',
    'primes',
    'prompts and decoding',
    'all prime',
  ],
  pageSize: [0, 1, 3, 16, 250],
} as const;

type VarlenRow = Row<typeof VARLEN>;

export const weightsCells: ConformanceSuite<typeof VARLEN> = {
  axes: VARLEN,
  kernelAxes: VARLEN_KERNELS,
  allows: (cell) => varlenCells.allows(asVarlen(cell)),
  // The reference has all rows, since their lse is needed.
  cost: (cell) => varlenCells.cost(asVarlen(cell)),
  async check(device, cell, seed) {
    const whole = { ...cell, ...OF_ATTENTION, taker: BATCHES[cell.batch].taker };
    for (const varlen of varlenCases(whole as never, seed))
      await checkVarlenWeights(sharedRuntime(device), varlen);
  },
};

function asVarlen(cell: Partial<VarlenRow>): Parameters<typeof varlenCells.allows>[0] {
  return cell as Parameters<typeof varlenCells.allows>[0];
}

const CACHE_KERNELS = {
  dtype: kvCacheCells.axes.dtype,
  kvDType: kvCacheCells.axes.kvDType,
  scaleDType: kvCacheCells.axes.scaleDType,
  turned: kvCacheCells.axes.turned,
  headDim: kvCacheCells.axes.headDim,
  heads: HEADS,
  keys: kvCacheCells.axes.keys,
  softcapped: [false, true],
  sloped: [false, true],
  rotary: kvCacheCells.axes.rotary,
  ...KEY_KERNELS,
  sections: kvCacheCells.axes.sections,
  positioned: [false, true],
  treed: [false, true],
  ...MOD_KERNELS,
} as const;

const CACHE = {
  ...CACHE_KERNELS,
  ...KEY_AXES,
  lengths: ['1, 339', '64, 256', '3, 799', '128, 128'],
  spread: kvCacheCells.axes.spread,
  fresh: kvCacheCells.axes.fresh,
  mask: kvCacheCells.axes.mask,
  softcap: kvCacheCells.axes.softcap,
  sinks: [false, true],
  attentionChunk: [0, 100],
  pageSize: [0, 1, 16, 256],
  leftpad: [false, true],
  batchIdx: [false, true],
  ragged: [false, true],
  numbers: kvCacheCells.axes.numbers,
  positions,
  tree,
} as const;

type CacheRow = Row<typeof CACHE>;

export const cacheWeightsCells: ConformanceSuite<typeof CACHE> = {
  axes: CACHE,
  kernelAxes: CACHE_KERNELS,
  allows: (cell) => kvCacheCells.allows(asCache(cell)),
  cost: (cell) => kvCacheCells.cost(asCache(cell)),
  check: (device, cell, seed) =>
    checkKvCacheWeights(
      sharedRuntime(device),
      kvCacheCase({ ...cell, ...OF_ATTENTION, newDType: 'same' } as never, seed),
    ),
};

function asCache(cell: Partial<CacheRow>): Parameters<typeof kvCacheCells.allows>[0] {
  return cell as Parameters<typeof kvCacheCells.allows>[0];
}
