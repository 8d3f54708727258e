import type { FloatDType } from '../core/dtype.js';
import { roundTo } from '../core/halves.js';
import { attend, type AttentionOptions, type AttentionResult, type Sequence } from './attend.js';
import { lastSizes, sizes4, type HostInts, type HostTensor } from './hostTensor.js';
import { contiguousRows, pagedRows, pageTableOf } from './keyRows.js';
import { rotate, type Rotary } from './rotary.js';

export interface AttnWithKvCacheReferenceArgs extends AttentionOptions {
  /** [B, Sq, Hq, D], or [totalQ, Hq, D] with `cuSeqlensQ` */
  readonly q: HostTensor;
  /** [Bc, Sc, Hkv, D], or pages [P, pageSize, Hkv, D] with `blockTable` */
  readonly kCache: HostTensor;
  /** [Bc, Sc, Hkv, Dv], or pages [P, pageSize, Hkv, Dv] with `blockTable` */
  readonly vCache: HostTensor;
  /** New tokens [B, Snew, Hkv, D], appended before attending */
  readonly k?: HostTensor | undefined;
  /** New tokens [B, Snew, Hkv, Dv] */
  readonly v?: HostTensor | undefined;
  /** [B]: tokens in the cache before the new ones; one number serves all sequences */
  readonly cacheSeqlens: number | HostInts;
  /** [B + 1]: sequence b has the queries cuSeqlensQ[b] to cuSeqlensQ[b + 1] − 1 */
  readonly cuSeqlensQ?: HostInts | undefined;
  /** [rows, maxPages], row after row */
  readonly blockTable?: HostInts | undefined;
  /** Rows of `blockTable`. Default B; with `cacheBatchIdx` there may be more. */
  readonly blockTableRows?: number | undefined;
  /** [B]: the row of the cache, or of the block table, of each sequence. Default 0, 1, ... */
  readonly cacheBatchIdx?: HostInts | undefined;
  /** [B]: slots hidden at the start of each sequence. Default 0 */
  readonly cacheLeftpad?: HostInts | undefined;
  /** [L, rotaryDim/2] */
  readonly rotaryCos?: HostTensor | undefined;
  /** [L, rotaryDim/2] */
  readonly rotarySin?: HostTensor | undefined;
  /** Default true */
  readonly rotaryInterleaved?: boolean | undefined;
  /** What q and the caches are stored as: rotated queries and keys are rounded to it. Default `storage`, else f32 */
  readonly dtype?: FloatDType | undefined;
}

export interface AttnWithKvCacheResult extends AttentionResult {
  /** The cache after the append, in the array type that was given. */
  readonly kCache: HostTensor;
  readonly vCache: HostTensor;
}

interface CachedSequence extends Sequence {
  /** Tokens in the cache before the new ones; keyRows has both. */
  readonly nCached: number;
}

/**
 * Appends new tokens to the cache, then attends to all of it. The arguments are not changed.
 *
 * Returns out shaped like q with the head size of v, lse [B, Hq, Sq] or [Hq, totalQ], and the caches.
 */
export function attnWithKvCacheReference(args: AttnWithKvCacheReferenceArgs): AttnWithKvCacheResult {
  const { q, k, v } = args;
  const { sequences, lseShape } = sequencesOf(args);
  const turn = turnOf(args);

  const kCache = k ? append(args.kCache, k, sequences, turn) : args.kCache;
  const vCache = v ? append(args.vCache, v, sequences) : args.vCache;
  const queries = turn ? turnQueries(q, sequences, turn, args) : q;
  return {
    ...attend({ q: queries, k: kCache, v: vCache, sequences, lseShape, options: args }),
    kCache,
    vCache,
  };
}

function sequencesOf(args: AttnWithKvCacheReferenceArgs): {
  readonly sequences: readonly CachedSequence[];
  readonly lseShape: readonly number[];
} {
  const { q, kCache, k, cacheSeqlens, cuSeqlensQ, blockTable, cacheBatchIdx, cacheLeftpad } = args;
  const ragged = cuSeqlensQ !== undefined;
  const [nHeads] = lastSizes(q);
  const [batch, nQueries] = ragged ? [cuSeqlensQ.length - 1, 0] : sizes4('q', q);
  const totalQ = q.shape[0]!;
  const nNew = k ? sizes4('k', k)[1] : 0;
  const [, cacheCapacity] = sizes4('kCache', kCache);
  const table = blockTable && pageTableOf(blockTable, args.blockTableRows ?? batch, kCache);

  const sequences = Array.from({ length: batch }, (_, b): CachedSequence => {
    const firstQuery = ragged ? cuSeqlensQ[b]! : b * nQueries;
    const nCached = typeof cacheSeqlens === 'number' ? cacheSeqlens : cacheSeqlens[b]!;
    const nKeys = nCached + nNew;
    const cacheRow = cacheBatchIdx?.[b] ?? b;
    return {
      firstQuery,
      nQueries: ragged ? cuSeqlensQ[b + 1]! - firstQuery : nQueries,
      nCached,
      keyRows: table ? pagedRows(table, cacheRow, nKeys) : contiguousRows(cacheRow * cacheCapacity, nKeys),
      leftpad: cacheLeftpad?.[b] ?? 0,
      lseIndex: ragged
        ? (head, i) => head * totalQ + firstQuery + i
        : (head, i) => (b * nHeads + head) * nQueries + i,
    };
  });
  return { sequences, lseShape: ragged ? [nHeads, totalQ] : [batch, nHeads, nQueries] };
}

/** Turns one head in place to a position. */
type Turn = (head: Float64Array, position: number) => void;

function turnOf(args: AttnWithKvCacheReferenceArgs): Turn | undefined {
  const { rotaryCos, rotarySin, rotaryInterleaved = true, dtype = args.storage ?? 'f32' } = args;
  if (!rotaryCos || !rotarySin) return undefined;
  const rotary: Rotary = { cos: rotaryCos, sin: rotarySin, interleaved: rotaryInterleaved };
  return (head, position) => {
    rotate(head, position, rotary);
    for (let d = 0; d < head.length; d++) head[d] = roundTo(dtype, head[d]!);
  };
}

/** Writes new token t of each sequence, [B, Snew, Hkv, D], to its slot nCached + t, turned to that position. */
function append(
  cache: HostTensor,
  fresh: HostTensor,
  sequences: readonly CachedSequence[],
  turn?: Turn,
): HostTensor {
  const [, nNew, nKvHeads, headDim] = sizes4('the new tokens', fresh);
  const data = cache.data.slice();
  sequences.forEach(({ nCached, keyRows }, b) => {
    for (let t = 0; t < nNew; t++)
      for (let kvHead = 0; kvHead < nKvHeads; kvHead++) {
        const from = ((b * nNew + t) * nKvHeads + kvHead) * headDim;
        const head = Float64Array.from(fresh.data.subarray(from, from + headDim));
        turn?.(head, nCached + t);
        data.set(head, (keyRows[nCached + t]! * nKvHeads + kvHead) * headDim);
      }
  });
  return { data, shape: cache.shape };
}

/** Turns query i by its position nCached + i when causal or windowed, else all queries by nCached. */
function turnQueries(
  q: HostTensor,
  sequences: readonly CachedSequence[],
  turn: Turn,
  { causal = false, windowSize = [-1, -1] }: AttentionOptions,
): HostTensor {
  const [nHeads, headDim] = lastSizes(q);
  const byPosition = causal || windowSize[0] >= 0 || windowSize[1] >= 0;
  const data = Float64Array.from(q.data);
  for (const { firstQuery, nQueries, nCached } of sequences)
    for (let i = 0; i < nQueries; i++)
      for (let head = 0; head < nHeads; head++) {
        const from = ((firstQuery + i) * nHeads + head) * headDim;
        turn(data.subarray(from, from + headDim), byPosition ? nCached + i : nCached);
      }
  return { data, shape: q.shape };
}
