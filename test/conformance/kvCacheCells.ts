import { QUANTISED, type FloatDType } from '../../src/core/dtype.js';
import type { Tier } from '../../src/index.js';
import { checkKvCache, type KvCacheCase } from '../attention/kvCacheCase.js';
import { sharedRuntime } from '../platforms/withRuntime.js';
import { Random } from '../../tools/random.js';
import {
  allowsCacheType,
  allowsKeys,
  allowsTurning,
  cacheType,
  drawWindow,
  isQuantisedType,
  KEY_AXES,
  KEY_KERNELS,
  keysOfCase,
  otherType,
  POSITIONS,
  SCALE_DTYPES,
  SPREADS,
  tokensCase,
  MOD_KERNELS,
  modsCase,
  TREES,
  TURNED,
} from './axes.js';
import type { Row } from './coveringArray.js';
import type { ConformanceSuite } from './selection.js';

/** What decides which kernels are compiled. */
const KERNEL_AXES = {
  tier: ['T0', 'T1'] as readonly Tier[],
  dtype: ['f32', 'f16', 'bf16'] as readonly FloatDType[],
  kvDType: ['same', 'other', ...QUANTISED],
  scaleDType: SCALE_DTYPES,
  turned: TURNED,
  newDType: ['same', 'other'],
  headDim: [59, 64, 128, 256, 512, 576],
  keys: ['in rows', 'in pages'],
  softcapped: [false, true],
  sloped: [false, true],
  ...KEY_KERNELS,
  returnLse: [true, false],
  rotary: ['none', 'half', 'whole', 'half, halves apart', 'whole, halves apart'],
  sections: ['none', 'behind each other', 'in turns'],
  positioned: [false, true],
  treed: [false, true],
  ...MOD_KERNELS,
} as const;

const AXES = {
  ...KERNEL_AXES,
  ...KEY_AXES,
  heads: [
    [6, 6],
    [6, 3],
    [6, 1],
  ] as readonly (readonly [number, number])[],
  /** Queries, and keys with the new ones. */
  lengths: [
    '1, 128',
    '1, 339',
    '3, 1024',
    '64, 800',
    '64, 256',
    '3, 799',
    '64, 2048',
    '16, 20000',
    '1, 131072',
    '128, 128',
  ],
  spread: SPREADS,
  fresh: ['none', 'as many as queries', 'fewer than queries', 'more than queries'],
  mask: ['none', 'causal', 'window', 'causal window'],
  softcap: [0, 15, 50],
  sinks: [false, true],
  attentionChunk: [0, 100],
  pageSize: [0, 1, 4, 16, 128, 256],
  leftpad: [false, true],
  /** Values with a memory of their own, or those that keys begin with. */
  values: ['apart', 'in keys'],
  batchIdx: [false, true],
  numSplits: [0, 1, 3],
  ragged: [false, true],
  numbers: ['host', 'GPU'],
  positions: POSITIONS,
  tree: TREES,
} as const;

export type KvCacheCell = Row<typeof AXES>;

export const kvCacheCells: ConformanceSuite<typeof AXES> = {
  axes: AXES,
  kernelAxes: KERNEL_AXES,
  allows: (cell) => RULES.every((rule) => rule(cell)),
  /** What the caches hold counts as well: they are filled, read back and compared. */
  cost({ lengths, heads = [6, 1], headDim = 59 }) {
    if (lengths === undefined) return 0;
    const [sq, sk] = sizesOf(lengths);
    const batch = batchOf(lengths);
    return 2 * batch * sk * headDim * (sq * heads[0] + 20 * heads[1]);
  },
  check: (device, cell, seed) => checkKvCache(sharedRuntime(device, cell.tier), kvCacheCase(cell, seed)),
};

/** What cannot be together. An axis that is not chosen yet contradicts nothing. */
const RULES: readonly ((cell: Partial<KvCacheCell>) => boolean)[] = [
  allowsKeys,
  allowsTurning,
  ({ keys, pageSize }) =>
    keys === undefined || pageSize === undefined || (keys === 'in pages') === pageSize > 0,
  ({ softcapped, softcap }) =>
    softcapped === undefined || softcap === undefined || softcapped === softcap > 0,
  ({ kvDType, headDim = 64 }) => allowsCacheType(kvDType, { headDim }),
  ({ kvDType = 'same', turned, values }) => (!isQuantisedType(kvDType) && !turned) || values !== 'in keys',
  ({ positioned, positions }) =>
    positioned === undefined || positions === undefined || positioned === (positions !== 'none'),
  ({ treed, tree }) => treed === undefined || tree === undefined || treed === (tree !== 'none'),
  // With positions, each new token is a query.
  ({ positioned, positions = 'none', sections = 'none', fresh }) =>
    (!positioned && positions === 'none' && sections === 'none') ||
    fresh === undefined ||
    fresh === 'none' ||
    fresh === 'as many as queries',
  ({ sections = 'none', rotary, positioned, positions }) =>
    sections === 'none' || (rotary !== 'none' && positioned !== false && positions !== 'none'),
  // Tables of one page for each key are beyond any use here.
  ({ lengths, pageSize }) =>
    lengths !== '1, 131072' || pageSize === undefined || pageSize === 0 || pageSize >= 16,
];

/** A batch, or one sequence where it is long. */
function batchOf(lengths: KvCacheCell['lengths']): number {
  return sizesOf(lengths)[1] > 10_000 ? 1 : 3;
}

function sizesOf(lengths: KvCacheCell['lengths']): readonly [sq: number, sk: number] {
  return lengths.split(', ').map(Number) as [number, number];
}

export function kvCacheCase(cell: Omit<KvCacheCell, 'tier'>, seed: number): KvCacheCase {
  const random = new Random(seed);
  const { dtype, headDim, rotary } = cell;
  const [, sk] = sizesOf(cell.lengths);
  return {
    why: '',
    lengths: drawLengths(cell, random),
    ragged: cell.ragged,
    heads: cell.heads,
    headDim,
    headDimV:
      headDim > 512 ? 512 : headDim - (cell.values === 'in keys' ? (cell.kvDType === 'i4' ? 32 : 8) : 0),
    valuesInKeys: cell.values === 'in keys',
    dtype,
    ...cacheType(cell),
    ...(cell.turned && { kvRotation: 'hadamard' as const }),
    // Strides that keep octets whole, or words, or neither.
    ...(isQuantisedType(cell.kvDType) && { gap: [0, 8, 4, 1][random.int(0, 4)]! }),
    ...(cell.newDType === 'other' && { newDType: otherType(otherType(dtype)) }),
    causal: cell.mask.startsWith('causal'),
    windowSize: drawWindow(cell.mask.endsWith('window') ? 'both' : 'none', sk, random),
    softcap: cell.softcap,
    attentionChunk: cell.attentionChunk,
    alibi: cell.sloped,
    ...keysOfCase(cell),
    sinks: cell.sinks,
    returnLse: cell.returnLse,
    numSplits: cell.numSplits,
    pageSize: cell.pageSize,
    batchIdx: cell.batchIdx,
    leftpad: cell.leftpad,
    ...(rotary !== 'none' && {
      rotary: {
        dim: rotary.startsWith('half') ? 2 * Math.floor(headDim / 4) : 2 * Math.floor(headDim / 2),
        interleaved: !rotary.endsWith('apart'),
        ...(cell.sections !== 'none' && { sections: cell.sections }),
      },
    }),
    ...tokensCase(cell),
    ...modsCase(cell),
    onGpu: cell.numbers === 'GPU',
    seed,
  };
}

/** Cached, queries and new tokens of each sequence; the last two differ between sequences where they are ragged. */
function drawLengths(
  { lengths, spread, fresh, ragged, positions }: Omit<KvCacheCell, 'tier'>,
  random: Random,
): KvCacheCase['lengths'] {
  const [sq, sk] = sizesOf(lengths);
  const batch = batchOf(lengths);
  const nNew = {
    none: 0,
    'as many as queries': sq,
    'fewer than queries': Math.floor(sq / 2),
    'more than queries': sq + 3,
  };
  return Array.from({ length: batch }, (_, b) => {
    const isEmpty = spread === 'upper two thirds' && b === batch - 1 && batch > 1;
    const least = { full: sk, 'last 20': sk - 20, 'upper two thirds': Math.ceil(sk / 3) }[spread];
    const queries = ragged ? random.int(b === 0 ? sq : 0, sq + 1) : sq;
    const some = ragged ? Math.min(nNew[fresh], random.int(0, nNew[fresh] + 1)) : nNew[fresh];
    const added = positions === 'none' || fresh === 'none' ? some : queries;
    const cached = isEmpty ? 0 : Math.max(0, random.int(least, sk + 1) - added);
    return [cached, queries, added];
  });
}
