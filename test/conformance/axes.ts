import type { FloatDType, KvDType, QuantisedDType } from '../../src/core/dtype.js';
import { canTurn, type ScaleDType } from '../../src/core/kvFormats.js';
import type { Random } from '../../tools/random.js';
import { BLOCK_SHARING, type BlocksCase } from '../attention/blockMaskCase.js';
import type { ModsCase } from '../attention/modsCase.js';
import type { TokensCase } from '../attention/tokenInputs.js';

// Values that the axes of several suites share.

/** Queries and keys of a sequence. */
export type Lengths = readonly [sq: number, sk: number];

/** Which attention kernels a batch is for. */
export const TAKERS = ['attn_prefill', 'attn_decode', 'both'] as const;
export type Taker = (typeof TAKERS)[number];

interface Batch {
  readonly taker: Taker;
  readonly most: readonly Lengths[];
}

const prompts = (...most: Lengths[]): Batch => ({ taker: 'attn_prefill', most });
const single = (...keys: number[]): Batch => ({
  taker: 'attn_decode',
  most: keys.map((sk) => [1, sk]),
});
const mixed = (...most: Lengths[]): Batch => ({ taker: 'both', most });
/** Beside keys around the edges of tiles; a single token among them. */
const edges = (...queries: number[]): Batch =>
  mixed(
    [1, 65],
    ...queries.flatMap((sq) => [1, 7, 31, 33, 127, 129, 257, 513].map((sk) => [sq, sk] as const)),
  );

/** Batches by name: sizes at which tiles, chunks and pages begin and end, and mixtures that a server sees. */
export const BATCHES = {
  'single tokens': single(1, 239, 33, 1024, 700),
  'single tokens of one length': single(300, 300, 300),
  'a long cache among single keys': single(1, 1, 1, 1024, 1, 1, 1, 1),
  'few keys': prompts([64, 1], [239, 1], [799, 3]),
  'prompts of one length': prompts([40, 60], [40, 60]),
  primes: prompts([113, 203], [113, 211], [128, 217], [108, 256]),
  'half as many': prompts([256, 512], [512, 256]),
  '1024 each': prompts([1024, 1024]),
  'around 1024': prompts([1023, 1024], [1024, 1023]),
  '2048 each': prompts([2048, 2048]),
  '32 of 64': prompts(...Array.from({ length: 32 }, () => [64, 64] as const)),
  'a prompt among single tokens': mixed([1, 1], [512, 512], [1, 1], [1, 1]),
  'prompts and decoding': mixed([200, 300], [1, 700], [3, 3], [1, 33], [2, 129], [1, 256], [64, 64]),
  'all prime': mixed([2, 3], [5, 7], [11, 13], [17, 19], [29, 53], [101, 211], [307, 401]),
  'edges of few rows': edges(1, 3, 7, 15),
  'edges of tiles': edges(31, 33, 63, 65),
  'edges of several tiles': edges(127, 129),
  'edges of many tiles': edges(255, 257),
} as const satisfies Readonly<Record<string, Batch>>;

export const BATCH_NAMES = Object.keys(BATCHES) as readonly (keyof typeof BATCHES)[];

/** How long sequences are: as the batch has them, up to 20 less, or from a third on with some empty. */
export const SPREADS = ['full', 'last 20', 'upper two thirds'] as const;

export function spread(most: readonly Lengths[], how: (typeof SPREADS)[number], random: Random): Lengths[] {
  const draw = (n: number, b: number): number => {
    if (how === 'full') return n;
    if (how === 'last 20') return random.int(Math.max(0, n - 20), n + 1);
    return b % 5 === 4 || b === most.length - 1 ? 0 : random.int(Math.ceil(n / 3), n + 1);
  };
  return most.map(([sq, sk], b) => [draw(sq, b), draw(sk, b)]);
}

export const WINDOWS = ['none', 'left', 'right', 'both', 'own position'] as const;

/** Edges of a window anywhere among so many keys. */
export function drawWindow(
  window: (typeof WINDOWS)[number],
  sk: number,
  random: Random,
): readonly [left: number, right: number] {
  const left = random.int(0, sk);
  const right = random.int(0, sk);
  switch (window) {
    case 'none':
      return [-1, -1];
    case 'left':
      return [left, -1];
    case 'right':
      return [-1, right];
    case 'both':
      return [left, right];
    case 'own position':
      return [0, 0];
  }
}

/** What decides, about masks of bits, biases and first keys, which kernels are compiled. */
export const KEY_KERNELS = {
  bits: [false, true],
  bias: ['none', 'f32', 'f16', 'bf16'],
  /** Where rows of the bias begin. */
  biasAt: ['quads', 'anywhere'],
  keepsFirst: [false, true],
} as const;

/** And what does not. */
export const KEY_AXES = {
  sharing: ['nothing', 'heads', 'all'],
  firstKeys: [0, 1, 5, 100, 1_000_000],
} as const;

type KeyCell = {
  readonly [Axis in keyof typeof KEY_KERNELS]: (typeof KEY_KERNELS)[Axis][number];
} & { readonly [Axis in keyof typeof KEY_AXES]: (typeof KEY_AXES)[Axis][number] };

/** What cannot be together. An axis that is not chosen yet contradicts nothing. */
export function allowsKeys({ bias, biasAt, keepsFirst, firstKeys }: Partial<KeyCell>): boolean {
  if (bias === 'none' && biasAt === 'anywhere') return false;
  return keepsFirst === undefined || firstKeys === undefined || keepsFirst === firstKeys > 0;
}

/** Those of a case. */
export function keysOfCase({ bits, bias, biasAt, sharing, firstKeys }: KeyCell) {
  return {
    ...(bits && { bits: sharing }),
    ...(bias !== 'none' && { bias, biasSharing: sharing, biasAnywhere: biasAt === 'anywhere' }),
    firstKeys,
  };
}

/** Block masks: `blocked` decides which kernels are compiled. */
export const BLOCK_AXES = {
  blocks: ['none', ...BLOCK_SHARING],
  /** Queries and keys. */
  blockSize: ['16, 16', '128, 128', '1, 7', '40, 300'],
  fullBlocks: [false, true],
  blocksAt: ['host', 'GPU'],
} as const;

type BlockCell = { readonly [Axis in keyof typeof BLOCK_AXES]: (typeof BLOCK_AXES)[Axis][number] } & {
  readonly blocked: boolean;
};

/** A cell as far as it decides whether a call can have a block mask. */
interface BlockedCell extends BlockCell {
  readonly taker: Taker;
  readonly call: string;
  readonly batch: keyof typeof BATCHES;
  readonly spread: string;
  readonly used: string;
  readonly numbers: string;
}

/** Whether sequences are of one length, which the host knows, where there are blocks. */
export function allowsBlocks(cell: Partial<BlockedCell>): boolean {
  const { blocked, blocks, taker, call, batch, used = 'all', numbers = 'host' } = cell;
  if (blocked !== undefined && blocks !== undefined && blocked !== (blocks !== 'none')) return false;
  const isBlocked = blocked ?? (blocks !== undefined && blocks !== 'none');
  if (!isBlocked) return true;
  // Of one length, all sequences are for one kernel.
  if ((taker ?? (batch && BATCHES[batch].taker)) === 'both') return false;
  if (call === 'attn') return true;
  if ((cell.spread ?? 'full') !== 'full' || used !== 'all' || numbers !== 'host') return false;
  if (batch === undefined || call === undefined) return true;
  const [first, ...others] = BATCHES[batch].most as readonly Lengths[];
  return others.every((lengths) => String(lengths) === String(first));
}

export function blocksOfCase({ blocks, blockSize, fullBlocks, blocksAt }: BlockCell): BlocksCase {
  if (blocks === 'none') return {};
  const [q, k] = blockSize.split(', ').map(Number) as [number, number];
  return { blocks, blockSize: [q, k], fullBlocks, blocksOnGpu: blocksAt === 'GPU' };
}

/** Positions and trees of query tokens. */
export const POSITIONS = ['none', 'their own', 'rising', 'any'] as const;
export const TREES = ['none', 'chain', 'branches'] as const;

interface TokenCell {
  readonly positions: (typeof POSITIONS)[number];
  readonly tree: (typeof TREES)[number];
}

export function tokensCase({ positions, tree }: TokenCell): TokensCase {
  return {
    ...(positions !== 'none' && { positions }),
    ...(tree !== 'none' && { tree }),
  };
}

/** Functions of the caller's own, each a kernel of its own. */
export const MOD_KERNELS = {
  scoreMod: ['none', 'slopes', 'relative', 'hiding', 'scaled'],
  maskMod: ['none', 'documents', 'window', 'stripes'],
} as const;

type ModCell = { readonly [Axis in keyof typeof MOD_KERNELS]: (typeof MOD_KERNELS)[Axis][number] };

export function modsCase({ scoreMod, maskMod }: ModCell): ModsCase {
  return { ...(scoreMod !== 'none' && { scoreMod }), ...(maskMod !== 'none' && { maskMod }) };
}

/** Whether a kernel can do with ten storage buffers, which SwiftShader has. An axis that is not chosen yet takes none. */
export function bindsTen(cell: Readonly<Record<string, unknown>>): boolean {
  const { keys, returnLse, kvDType, bits, bias = 'none', scoreMod, maskMod } = cell;
  const optional = [
    keys === 'in pages',
    returnLse === true,
    ...Array<boolean>(2).fill(kvDType === 'i8' || kvDType === 'i4'),
    bits === true,
    bias !== 'none',
    scoreMod === 'slopes' || scoreMod === 'relative',
    maskMod === 'documents',
  ];
  return 5 + optional.filter((isBound) => isBound).length <= 10;
}

/** A type that is not the one given. */
export function otherType(dtype: FloatDType): FloatDType {
  return ({ f32: 'f16', f16: 'bf16', bf16: 'f32' } as const)[dtype];
}

/** What a cache may be, given the type of q: as an axis has it. */
type CacheType = 'same' | 'other' | QuantisedDType;

export function isQuantisedType(value: CacheType): value is QuantisedDType {
  return value !== 'same' && value !== 'other';
}

/** Of the scales of i8 and i4. */
export const SCALE_DTYPES = ['f32', 'f16'] as const satisfies readonly ScaleDType[];

interface TypesCell {
  readonly dtype: FloatDType;
  readonly kvDType: CacheType;
  readonly scaleDType: ScaleDType;
}

/** The type of keys and values, and of their scales. */
export function cacheType({ dtype, kvDType, scaleDType }: TypesCell): {
  readonly kvDType?: KvDType;
  readonly scaleDType?: ScaleDType;
} {
  if (kvDType === 'same') return {};
  if (kvDType === 'other') return { kvDType: otherType(dtype) };
  return { kvDType, scaleDType };
}

/** Whether heads of a cache are turned (`kvRotation`). */
export const TURNED = [false, true] as const;

interface TurnedCell {
  readonly turned?: boolean | undefined;
  readonly kvDType?: CacheType | undefined;
  readonly headDim?: number | undefined;
}

/** Those of quantised ones can be, if their size is a power of two. */
export function allowsTurning({ turned, kvDType, headDim }: TurnedCell): boolean {
  if (!turned) return true;
  return (kvDType === undefined || isQuantisedType(kvDType)) && (headDim === undefined || canTurn(headDim));
}

interface CacheShape {
  readonly keys?: string | undefined;
  readonly headDim: number;
}

/** Whether a cache of some type may have a shape: quantised ones are rows or pages, groups of i4 are whole. */
export function allowsCacheType(value: CacheType | undefined, { keys, headDim }: CacheShape): boolean {
  if (value === undefined || !isQuantisedType(value)) return true;
  return keys !== 'end to end' && (value !== 'i4' || headDim % 32 === 0);
}
