import { checkBeginsWithZero } from '../core/checkArguments.js';
import { isQuantised, roundTo, type FloatDType, type KvDType } from '../core/dtype.js';
import { PageflashError } from '../core/errors.js';
import {
  DEFAULT_SCALE_DTYPE,
  dequantiseHead,
  quantiseHead,
  turnHead,
  type KvRotation,
  type ScaleDType,
} from '../core/kvFormats.js';
import { elementCount } from '../core/tensor.js';
import { attend, type AttentionOptions, type AttentionResult, type Sequence } from './attend.js';
import type { MaskOptions } from './masks.js';
import {
  blockTableOf,
  cacheRows,
  checkTensors,
  lastSizes,
  NO_ROW,
  pagedRows,
  sizes4,
  type HostFloats,
  type HostInts,
  type HostTensor,
} from './hostTensor.js';
import { turnBack, turnHeads } from './turned.js';

/** The arguments of `attnWithKvCacheReference`. */
export interface AttnWithKvCacheReferenceArgs extends CachedBatch, AttentionOptions {
  /** [Bc, Sc, Hkv, Dv], or pages [P, pageSize, Hkv, Dv] with `blockTable`. Left out with `headDimV` */
  readonly vCache?: HostTensor | undefined;
  /** Dv, where values are the first elements of each key as it is in the cache (MLA): without `vCache` and `v` */
  readonly headDimV?: number | undefined;
  /** New tokens [B, Snew, Hkv, Dv], or [totalNew, Hkv, Dv] with `cuSeqlensKNew` */
  readonly v?: HostTensor | undefined;
  /**
   * The type of the caches, to which new tokens are rounded. Default `dtype`. Of a quantised cache, `kCache` and `vCache`
   * hold the numbers that codes and scales stand for.
   */
  readonly kvDType?: KvDType | undefined;
  /** Of the scales of i8 and i4. Default f16 */
  readonly scaleDType?: ScaleDType | undefined;
  /** [Hkv] or [1], of e4m3: what new keys are divided by. Default 1 */
  readonly kScale?: HostFloats | undefined;
  /** Likewise new values. */
  readonly vScale?: HostFloats | undefined;
}

/** Queries and the cache of their keys, and how queries are rotated. */
export interface CachedBatch {
  /** [B, Sq, Hq, D], or [totalQ, Hq, D] with `cuSeqlensQ` */
  readonly q: HostTensor;
  /** [Bc, Sc, Hkv, D], or pages [P, pageSize, Hkv, D] with `blockTable` */
  readonly kCache: HostTensor;
  /** New tokens [B, Snew, Hkv, D], or [totalNew, Hkv, D] with `cuSeqlensKNew`, appended before attending */
  readonly k?: HostTensor | undefined;
  /** `[B]`: tokens in the cache before the new ones; or one number for all sequences */
  readonly cacheSeqlens: number | HostInts;
  /** [B + 1], from 0: sequence b has the queries cuSeqlensQ[b] to cuSeqlensQ[b + 1] − 1 */
  readonly cuSeqlensQ?: HostInts | undefined;
  /** [B + 1], from 0: sequence b has the new tokens cuSeqlensKNew[b] to cuSeqlensKNew[b + 1] − 1 */
  readonly cuSeqlensKNew?: HostInts | undefined;
  /** [rows, maxPages], row after row. Keys of a page that the pool does not have are masked, and not written. */
  readonly blockTable?: HostInts | undefined;
  /** Rows of `blockTable`. Default B; with `cacheBatchIdx` there may be more. */
  readonly blockTableRows?: number | undefined;
  /**
   * `[B]`: the row of the cache, or of the block table, of each sequence. Without such a row it has no keys. Default
   * 0, 1, ...
   */
  readonly cacheBatchIdx?: HostInts | undefined;
  /** `[B]`: slots hidden at the start of each sequence. Default 0 */
  readonly cacheLeftpad?: HostInts | undefined;
  /** `[L, rotaryDim / 2]`: cosines by position */
  readonly rotaryCos?: HostTensor | undefined;
  /** `[L, rotaryDim / 2]`: sines by position */
  readonly rotarySin?: HostTensor | undefined;
  /** Whether elements (2t, 2t + 1) of a head are a pair, else (t, t + rotaryDim / 2). Default true */
  readonly rotaryInterleaved?: boolean | undefined;
  /**
   * [time, height, width]: how many pairs are turned by each of three positions of a token. `positions` is
   * [3 · totalQ], or [3 · B · Sq], and is not looked at by masks
   */
  readonly rotarySections?: readonly [number, number, number] | undefined;
  /** Whether pairs 3n + 1 are those of height, and 3n + 2 of width, as far as there are any. Default false */
  readonly rotarySectionsInterleaved?: boolean | undefined;
  /** Of query tokens, and of the new keys, by which both are rotated. Default: see `TokenOptions` */
  readonly positions?: HostInts | undefined;
  /** The type of q, to which rotated queries are rounded. Default `storage`, else f32 */
  readonly dtype?: FloatDType | undefined;
  /**
   * Whether heads of the cache are multiplied by a Hadamard matrix: new ones when they are appended, and queries; the output
   * is turned back. Default: they are not
   */
  readonly kvRotation?: KvRotation | undefined;
}

/** Attention, and the caches after the append. */
export interface AttnWithKvCacheResult extends AttentionResult {
  /** The cache after the append, in the type of array that was passed. */
  readonly kCache: HostTensor;
  readonly vCache: HostTensor;
}

/**
 * Returns the attention to a cache after new tokens were appended to it: out shaped like q with the head size of v, lse
 * [B, Hq, Sq] or [Hq, totalQ], and the new caches. The arguments are not changed.
 *
 * @throws PageflashError `argument`, `shape` or `length` for arguments that do not fit
 */
export function attnWithKvCacheReference(args: AttnWithKvCacheReferenceArgs): AttnWithKvCacheResult {
  const { k, v, dtype = args.storage ?? 'f32', kvDType = dtype } = args;
  const values = args.vCache ?? firstElements(args.kCache, args.headDimV);
  const { scaleDType = DEFAULT_SCALE_DTYPE, kScale = [1], vScale = [1] } = args;
  checkTensors('attnWithKvCacheReference', {
    q: args.q,
    kCache: args.kCache,
    vCache: values,
    ...(k && { k }),
    ...(v && { v }),
    ...(args.rotaryCos && { rotaryCos: args.rotaryCos }),
    ...(args.rotarySin && { rotarySin: args.rotarySin }),
  });
  const { sequences, lseShape } = cachedSequences(args);
  const appended = appendKv({
    q: args.q,
    kCache: args.kCache,
    vCache: values,
    k,
    v,
    sequences,
    rotary: rotaryOf(args),
    queriesAdvance: doQueriesAdvance(args),
    tokenPosition: tokenPositionOf(args),
    dtype,
    kvDType,
    scaleDType,
    kScale,
    vScale,
    turns: args.kvRotation !== undefined,
  });
  const { q, kCache } = appended;
  const vCache = args.vCache ? appended.vCache : firstElements(kCache, args.headDimV);
  const options = maskOptions(args);
  const result = attend({ q, k: kCache, v: vCache, sequences, lseShape, options });
  return { ...(args.kvRotation ? turnBack(result, args.storage) : result), kCache, vCache };
}

/** The arguments without positions if these are those of sections. */
export function maskOptions<Args extends CachedBatch>(args: Args): Args {
  return args.rotarySections ? { ...args, positions: undefined } : args;
}

/** Returns what gives the positions of a query token by its index among those of all sequences: one, or three. */
export function tokenPositionOf({ positions, rotarySections, q }: CachedBatch): TokenPosition | undefined {
  if (!positions) return undefined;
  const nTokens = elementCount(q.shape.slice(0, -2));
  if (!rotarySections) return (token) => positions[token]!;
  return (token) => [0, 1, 2].map((section) => positions[section * nTokens + token]!);
}

type TokenPosition = (token: number) => number | readonly number[];

/** The first `size` elements of each head. */
function firstElements({ data, shape }: HostTensor, size: number | undefined): HostTensor {
  const headDim = shape.at(-1)!;
  if (size === undefined || size > headDim)
    throw new PageflashError(
      'argument',
      `attnWithKvCache: pass vCache, or a headDimV up to the ${headDim} elements of a key.`,
    );
  const first = data.filter((_, i) => i % headDim < size);
  return { data: first, shape: [...shape.slice(0, -1), size] };
}

/** Whether queries are rotated by positions of their own, rather than all of a sequence by the first. */
export function doQueriesAdvance({ causal = false, windowSize = [-1, -1] }: MaskOptions): boolean {
  return causal || windowSize[0] >= 0 || windowSize[1] >= 0;
}

export function rotaryOf({
  rotaryCos,
  rotarySin,
  rotaryInterleaved = true,
  rotarySections,
  rotarySectionsInterleaved = false,
}: CachedBatch): Rotary | undefined {
  if (!rotaryCos && !rotarySin) return undefined;
  if (!rotaryCos || !rotarySin)
    throw new PageflashError('argument', 'attnWithKvCache: pass rotaryCos and rotarySin together.');
  const sectionOf = rotarySections && sectioning(rotarySections, rotarySectionsInterleaved);
  return { cos: rotaryCos, sin: rotarySin, interleaved: rotaryInterleaved, sectionOf };
}

export function cachedSequences(args: CachedBatch): {
  readonly sequences: readonly CachedSequence[];
  readonly lseShape: readonly number[];
} {
  const { q, kCache, k, cacheSeqlens, cuSeqlensQ, cuSeqlensKNew } = args;
  const { blockTable, cacheBatchIdx, cacheLeftpad } = args;
  const ragged = cuSeqlensQ !== undefined;
  const [nHeads] = lastSizes(q);
  const [batch, nQueries] = ragged ? [cuSeqlensQ.length - 1, 0] : sizes4('q', q);
  const totalQ = q.shape[0]!;
  if (cuSeqlensQ) checkBeginsWithZero('attnWithKvCache', 'cuSeqlensQ', cuSeqlensQ, totalQ);
  if (k && cuSeqlensKNew) checkBeginsWithZero('attnWithKvCache', 'cuSeqlensKNew', cuSeqlensKNew, k.shape[0]);
  const nNewOfEach = k && !cuSeqlensKNew ? sizes4('k', k)[1] : 0;
  const table = blockTable && blockTableOf(blockTable, args.blockTableRows ?? batch, kCache);

  const sequences = Array.from({ length: batch }, (_, b): CachedSequence => {
    const firstQuery = ragged ? cuSeqlensQ[b]! : b * nQueries;
    const nCached = typeof cacheSeqlens === 'number' ? cacheSeqlens : cacheSeqlens[b]!;
    const firstNew = cuSeqlensKNew ? cuSeqlensKNew[b]! : b * nNewOfEach;
    const nNew = cuSeqlensKNew ? cuSeqlensKNew[b + 1]! - firstNew : nNewOfEach;
    const nKeys = nCached + nNew;
    const cacheRow = cacheBatchIdx?.[b] ?? b;
    return {
      firstQuery,
      nQueries: ragged ? cuSeqlensQ[b + 1]! - firstQuery : nQueries,
      nCached,
      firstNew,
      keyRows: table ? pagedRows(table, cacheRow, nKeys) : cacheRows(kCache, cacheRow, nKeys),
      leftpad: cacheLeftpad?.[b] ?? 0,
      lseIndex: ragged
        ? (head, i) => head * totalQ + firstQuery + i
        : (head, i) => (b * nHeads + head) * nQueries + i,
    };
  });
  return { sequences, lseShape: ragged ? [nHeads, totalQ] : [batch, nHeads, nQueries] };
}

interface CachedSequence extends Sequence {
  /** Tokens in the cache before the new ones; keyRows has the rows of both. */
  readonly nCached: number;
  /** The index of its first new token among those of all sequences. */
  readonly firstNew: number;
}

interface AppendKvArgs {
  readonly q: HostTensor;
  readonly kCache: HostTensor;
  readonly vCache: HostTensor;
  /** New tokens [..., Hkv, D]: token t of a sequence becomes its key nCached + t */
  readonly k: HostTensor | undefined;
  /** New tokens [..., Hkv, Dv] */
  readonly v: HostTensor | undefined;
  readonly sequences: readonly CachedSequence[];
  readonly rotary: Rotary | undefined;
  /** Whether query i has position nCached + i; otherwise all queries of a sequence have position nCached. */
  readonly queriesAdvance: boolean;
  /** Positions of query tokens, and so of new keys, if they have any of their own. */
  readonly tokenPosition: TokenPosition | undefined;
  /** The element type of q. */
  readonly dtype: FloatDType;
  /** The element type of the caches. */
  readonly kvDType: KvDType;
  readonly scaleDType: ScaleDType;
  readonly kScale: HostFloats;
  readonly vScale: HostFloats;
  /** Whether heads of the cache are turned. */
  readonly turns: boolean;
}

interface AppendKvResult {
  /** Rotated, and turned if keys are. */
  readonly q: HostTensor;
  /** With the new tokens, keys rotated. */
  readonly kCache: HostTensor;
  readonly vCache: HostTensor;
}

/** Rotates queries and new keys, and writes new tokens to their slots: what happens before attention to a cache. */
function appendKv(args: AppendKvArgs): AppendKvResult {
  const { kCache, vCache, k, v, rotary, kScale, vScale } = args;
  return {
    q: preparedQueries(args, rotary),
    kCache: k ? append({ ...args, cache: kCache, fresh: k, rotary, headScales: kScale }) : kCache,
    vCache: v ? append({ ...args, cache: vCache, fresh: v, rotary: undefined, headScales: vScale }) : vCache,
  };
}

/** Queries as attention multiplies them by keys: rotated, and turned if keys are, with nothing rounded in between. */
export function preparedQueries(
  args: Pick<AppendKvArgs, 'q' | 'sequences' | 'queriesAdvance' | 'tokenPosition' | 'dtype' | 'turns'>,
  rotary: Rotary | undefined,
): HostTensor {
  const { q, turns } = args;
  const dtype = turns ? 'f32' : args.dtype;
  const rotated = rotary ? rotateQueries({ ...args, dtype }, rotary) : q;
  return turns ? turnHeads(rotated) : rotated;
}

function rotateQueries(
  {
    q,
    sequences,
    queriesAdvance,
    tokenPosition,
    dtype,
  }: Pick<AppendKvArgs, 'q' | 'sequences' | 'queriesAdvance' | 'tokenPosition' | 'dtype'>,
  rotary: Rotary,
): HostTensor {
  const [nHeads, headDim] = lastSizes(q);
  const data = Float64Array.from(q.data);
  for (const { firstQuery, nQueries, nCached } of sequences)
    for (let i = 0; i < nQueries; i++)
      for (let head = 0; head < nHeads; head++) {
        const from = ((firstQuery + i) * nHeads + head) * headDim;
        const query = data.subarray(from, from + headDim);
        const byDefault = queriesAdvance ? nCached + i : nCached;
        rotate(query, tokenPosition?.(firstQuery + i) ?? byDefault, rotary);
        roundAll(query, dtype);
      }
  return { data, shape: q.shape };
}

interface AppendArgs extends Pick<
  AppendKvArgs,
  'sequences' | 'rotary' | 'tokenPosition' | 'kvDType' | 'scaleDType' | 'turns'
> {
  /** [Hkv] or [1] */
  readonly headScales: HostFloats;
  readonly cache: HostTensor;
  readonly fresh: HostTensor;
}

function append(args: AppendArgs): HostTensor {
  const { cache, fresh, sequences, rotary, tokenPosition, turns, kvDType, scaleDType, headScales } = args;
  const [nKvHeads, headDim] = lastSizes(fresh);
  const data = cache.data.slice();
  sequences.forEach(({ firstQuery, nQueries, nCached, firstNew, keyRows }) => {
    for (let t = 0; nCached + t < keyRows.length; t++) {
      const row = keyRows[nCached + t]!;
      if (row === NO_ROW) continue;
      for (let kvHead = 0; kvHead < nKvHeads; kvHead++) {
        const from = ((firstNew + t) * nKvHeads + kvHead) * headDim;
        const token = Float64Array.from(fresh.data.subarray(from, from + headDim));
        const query = nCached + t - (keyRows.length - nQueries);
        if (rotary) rotate(token, tokenPosition?.(firstQuery + query) ?? nCached + t, rotary);
        if (turns) turnHead(token);
        if (isQuantised(kvDType)) {
          const scale = headScales[headScales.length === 1 ? 0 : kvHead]!;
          token.set(dequantiseHead(quantiseHead(kvDType, token, { scaleDType, scale })));
        } else roundAll(token, kvDType);
        data.set(token, (row * nKvHeads + kvHead) * headDim);
      }
    }
  });
  return { data, shape: cache.shape };
}

function roundAll(values: Float64Array, dtype: FloatDType): void {
  for (let d = 0; d < values.length; d++) values[d] = roundTo(dtype, values[d]!);
}

/** Tables of angles, and how the elements of a head are paired. */
interface Rotary {
  /** [L, rotaryDim / 2] */
  readonly cos: HostTensor;
  /** [L, rotaryDim / 2] */
  readonly sin: HostTensor;
  /** Whether pair t is elements (2t, 2t + 1); otherwise (t, t + rotaryDim / 2). */
  readonly interleaved: boolean;
  /** Which of three positions turns pair t. */
  readonly sectionOf?: ((t: number) => number) | undefined;
}

/** Sections that lie one behind the other; or pairs that take turns, as long as height and width have any left. */
function sectioning(
  [time, height, width]: readonly [number, number, number],
  interleaved: boolean,
): (t: number) => number {
  if (!interleaved) return (t) => (t < time ? 0 : t < time + height ? 1 : 2);
  return (t) => {
    const section = t % 3;
    const isLeft = Math.floor(t / 3) < [time, height, width][section]!;
    return isLeft ? section : 0;
  };
}

/**
 * Rotates the first rotaryDim elements of one head in place, pair t by the angle of (position, t):
 *
 *     x' = x cos − y sin      y' = x sin + y cos
 *
 * With sections there are three positions, of which each pair has one.
 *
 * @throws PageflashError `length` if the tables have no such position
 */
export function rotate(
  head: Float32Array | Float64Array,
  positions: number | readonly number[],
  { cos, sin, interleaved, sectionOf }: Rotary,
): void {
  const [nPositions, nPairs] = cos.shape as [number, number];
  for (const position of [positions].flat())
    if (position < 0 || position >= nPositions)
      throw new PageflashError(
        'length',
        `rotaryCos has the positions 0 to ${nPositions - 1}, not position ${position}.`,
      );
  for (let t = 0; t < nPairs; t++) {
    const position = typeof positions === 'number' ? positions : positions[sectionOf!(t)]!;
    const c = cos.data[position * nPairs + t]!;
    const s = sin.data[position * nPairs + t]!;
    const xIndex = interleaved ? 2 * t : t;
    const yIndex = interleaved ? 2 * t + 1 : t + nPairs;
    const x = head[xIndex]!;
    const y = head[yIndex]!;
    head[xIndex] = x * c - y * s;
    head[yIndex] = x * s + y * c;
  }
}
