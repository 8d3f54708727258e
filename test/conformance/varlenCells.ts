import { QUANTISED, type FloatDType } from '../../src/core/dtype.js';
import type { Tier } from '../../src/index.js';
import { sharedRuntime } from '../platforms/withRuntime.js';
import { Random } from '../../tools/random.js';
import { checkVarlen, type VarlenCase } from '../attention/varlenCase.js';
import {
  BATCH_NAMES,
  BATCHES,
  allowsBlocks,
  allowsCacheType,
  BLOCK_AXES,
  blocksOfCase,
  allowsTurning,
  cacheType,
  drawWindow,
  spread,
  POSITIONS,
  SCALE_DTYPES,
  SPREADS,
  TAKERS,
  type Taker,
  tokensCase,
  MOD_KERNELS,
  modsCase,
  TREES,
  TURNED,
  WINDOWS,
  allowsKeys,
  KEY_AXES,
  KEY_KERNELS,
  keysOfCase,
} from './axes.js';
import type { Row } from './coveringArray.js';
import type { ConformanceSuite } from './selection.js';

/** What decides which kernels are compiled. */
const KERNEL_AXES = {
  tier: ['T0', 'T1'] as readonly Tier[],
  taker: TAKERS,
  numSplits: [0, 1, 3],
  dtype: ['f32', 'f16', 'bf16'] as readonly FloatDType[],
  kvDType: ['same', 'other', ...QUANTISED],
  scaleDType: SCALE_DTYPES,
  turned: TURNED,
  headDim: [32, 40, 59, 64, 80, 111, 128, 160, 192, 256, 320, 512, 576],
  headDimV: ['same', 'other'],
  /** Elements between tokens and heads: units of 16 bytes stay whole, or do not. */
  gap: [0, 8, 1],
  keys: ['end to end', 'in pages'],
  softcapped: [false, true],
  sloped: [false, true],
  ...KEY_KERNELS,
  returnLse: [true, false],
  positioned: [false, true],
  treed: [false, true],
  ...MOD_KERNELS,
  blocked: [false, true],
  fullBlocks: BLOCK_AXES.fullBlocks,
  /** Whether scores are multiplied or added to, which leaves nothing of huge ones. */
  plainScores: [false, true],
  /** Which kernels take prompts with small heads, so that cells afford those of any batch. */
  smallHeads: ['none', 'attn_prefill', 'both'],
} as const;

const AXES = {
  ...KERNEL_AXES,
  ...KEY_AXES,
  ...BLOCK_AXES,
  call: ['attn', 'attnVarlen'],
  heads: [
    [6, 6],
    [6, 2],
    [6, 1],
  ] as readonly (readonly [number, number])[],
  causal: [false, true],
  window: WINDOWS,
  softcap: [0, 15, 50],
  alibi: ['none', 'per head', 'per sequence'],
  sinks: [false, true],
  attentionChunk: [0, 48, 1000],
  batch: BATCH_NAMES,
  spread: SPREADS,
  used: ['all', 'part'],
  pageSize: [0, 1, 2, 3, 4, 13, 16, 64, 128, 250, 256],
  numbers: ['host', 'GPU'],
  scores: ['normal', 'equal', 'spike', 'huge'],
  positions: POSITIONS,
  tree: TREES,
} as const;

export type VarlenCell = Row<typeof AXES>;

export const varlenCells: ConformanceSuite<typeof AXES> = {
  axes: AXES,
  kernelAxes: KERNEL_AXES,
  allows: (cell) => RULES.every((rule) => rule(cell)),
  /** Multiplications of the batch, with all keys seen. */
  cost({ batch, heads = [6, 1], smallHeads, headDim }) {
    if (batch === undefined) return 0;
    const isLarge = smallHeads === 'none' && BATCHES[batch].taker !== 'attn_decode';
    const least = isLarge ? LEAST_LARGE_HEAD : 32;
    const scores = BATCHES[batch].most.reduce((sum, [sq, sk]) => sum + sq * sk, 0);
    return 2 * scores * heads[0] * (headDim ?? least);
  },
  async check(device, cell, seed) {
    const runtime = sharedRuntime(device, cell.tier);
    for (const varlen of varlenCases(cell, seed)) await checkVarlen(runtime, varlen);
  },
};

/** What cannot be together. An axis that is not chosen yet contradicts nothing. */
const RULES: readonly ((cell: Partial<VarlenCell>) => boolean)[] = [
  allowsKeys,
  (cell) => allowsBlocks({ ...cell, ...takerOf(cell) }),
  allowsTurning,
  // Quantised keys are in pages.
  ({ turned, keys, call, pageSize }) =>
    !turned || (keys !== 'end to end' && call !== 'attn' && pageSize !== 0),
  // Other heads of values are 64, or 96.
  ({ turned, headDim, headDimV }) => !turned || headDimV !== 'other' || headDim === undefined || headDim > 64,
  ({ batch, ...cell }) => {
    const { taker } = takerOf(cell);
    return taker === undefined || batch === undefined || BATCHES[batch].taker === taker;
  },
  ({ keys, pageSize }) =>
    keys === undefined || pageSize === undefined || (keys === 'in pages') === pageSize > 0,
  ({ softcapped, softcap }) =>
    softcapped === undefined || softcap === undefined || softcapped === softcap > 0,
  ({ sloped, alibi }) => sloped === undefined || alibi === undefined || sloped === (alibi !== 'none'),
  ({ positioned, positions }) =>
    positioned === undefined || positions === undefined || positioned === (positions !== 'none'),
  ({ treed, tree }) => treed === undefined || tree === undefined || treed === (tree !== 'none'),
  // attn takes sequences of one length, end to end, and no lengths.
  ({ call, ...cell }) =>
    call !== 'attn' ||
    ((cell.spread ?? 'full') === 'full' &&
      (cell.used ?? 'all') === 'all' &&
      (cell.keys ?? 'end to end') === 'end to end' &&
      !cell.pageSize &&
      (cell.numbers ?? 'host') === 'host'),
  ({
    kvDType,
    call,
    pageSize,
    keys = call === 'attn' || pageSize === 0 ? 'end to end' : undefined,
    headDim = 32,
  }) => allowsCacheType(kvDType, { keys, headDim }),
  // Scores of 3e5 leave no bits for a slope or a bias.
  ({ scores, plainScores }) => scores !== 'huge' || plainScores !== false,
  ({ plainScores, alibi, sloped, bias, biasAt, scoreMod, scores }) => {
    const changes = [sloped, alibi && alibi !== 'none', bias && bias !== 'none', biasAt === 'anywhere'];
    changes.push(scoreMod && scoreMod !== 'none');
    if (changes.includes(true)) return plainScores !== true && scores !== 'huge';
    const isWhole = bias !== undefined && scoreMod !== undefined && (sloped ?? alibi) !== undefined;
    return !isWhole || plainScores !== false;
  },
  ({ smallHeads, ...cell }) => {
    if (smallHeads === undefined) return true;
    const { taker, headDim } = { ...cell, ...takerOf(cell) };
    if (smallHeads !== 'none')
      return (taker ?? smallHeads) === smallHeads && (headDim ?? 0) <= LARGEST_SMALL_HEAD;
    return taker === undefined || taker === 'attn_decode' || (headDim ?? Infinity) > LARGEST_SMALL_HEAD;
  },
];

/** With heads up to this size, a cell of the pairs affords every batch. */
const LARGEST_SMALL_HEAD = 59;
const LEAST_LARGE_HEAD = 64;

/** Which kernels a cell is for, as far as that is chosen. */
function takerOf({ taker, smallHeads, batch }: Partial<VarlenCell>): { readonly taker?: Taker } {
  if (taker !== undefined) return { taker };
  if (smallHeads !== undefined && smallHeads !== 'none') return { taker: smallHeads };
  return batch === undefined ? {} : { taker: BATCHES[batch].taker };
}

/** The calls of a cell: one of attnVarlen, or one of attn for each pair of lengths. */
export function varlenCases(cell: Omit<VarlenCell, 'tier'>, seed: number): VarlenCase[] {
  const random = new Random(seed);
  const { dtype, headDim } = cell;
  const { most } = BATCHES[cell.batch];
  const common = {
    why: '',
    heads: cell.heads,
    headDim,
    headDimV: cell.headDimV === 'other' ? (headDim > 64 ? 64 : 96) : Math.min(headDim, 512),
    dtype,
    ...cacheType(cell),
    ...(cell.turned && { kvRotation: 'hadamard' as const }),
    gap: cell.gap,
    causal: cell.causal,
    softcap: cell.softcap,
    ...(cell.alibi !== 'none' && { alibi: cell.alibi }),
    sinks: cell.sinks,
    returnLse: cell.returnLse,
    ...keysOfCase(cell),
    ...blocksOfCase(cell),
    attentionChunk: cell.attentionChunk,
    numSplits: cell.numSplits,
    pageSize: cell.pageSize,
    partlyUsed: cell.used === 'part',
    onGpu: cell.numbers === 'GPU',
    scores: cell.scores,
    ...tokensCase(cell),
    ...modsCase(cell),
    seed,
  } as const;
  const batches =
    cell.call === 'attn'
      ? most.slice(0, MOST_CALLS).map((pair) => [pair, pair])
      : [spread(most, cell.spread, random)];
  return batches.map((batch) => ({
    ...common,
    dense: cell.call === 'attn',
    lengths: batch,
    windowSize: drawWindow(cell.window, Math.max(1, ...batch.map(([, sk]) => sk)), random),
  }));
}

/** Of attn in one cell. */
const MOST_CALLS = 5;
