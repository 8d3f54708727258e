import type { FloatDType } from '../core/dtype.js';
import { checkBeginsWithZero } from '../core/checkArguments.js';
import { PageflashError } from '../core/errors.js';
import { appendKv, type CachedSequence } from './appendKv.js';
import { attend, type AttentionOptions, type AttentionResult } from './attend.js';
import { checkTensors, lastSizes, sizes4, type HostInts, type HostTensor } from './hostTensor.js';
import { cacheRows, pagedRows, pageTableOf } from './keyRows.js';
import type { Rotary } from './rotary.js';

export interface AttnWithKvCacheReferenceArgs extends AttentionOptions {
  /** [B, Sq, Hq, D], or [totalQ, Hq, D] with `cuSeqlensQ` */
  readonly q: HostTensor;
  /** [Bc, Sc, Hkv, D], or pages [P, pageSize, Hkv, D] with `blockTable` */
  readonly kCache: HostTensor;
  /** [Bc, Sc, Hkv, Dv], or pages [P, pageSize, Hkv, Dv] with `blockTable` */
  readonly vCache: HostTensor;
  /** New tokens [B, Snew, Hkv, D], or [totalNew, Hkv, D] with `cuSeqlensKNew`, appended before attending */
  readonly k?: HostTensor | undefined;
  /** New tokens [B, Snew, Hkv, Dv], or [totalNew, Hkv, Dv] with `cuSeqlensKNew` */
  readonly v?: HostTensor | undefined;
  /** [B]: tokens in the cache before the new ones; one number serves all sequences */
  readonly cacheSeqlens: number | HostInts;
  /** [B + 1], from 0: sequence b has the queries cuSeqlensQ[b] to cuSeqlensQ[b + 1] − 1 */
  readonly cuSeqlensQ?: HostInts | undefined;
  /** [B + 1], from 0: sequence b has the new tokens cuSeqlensKNew[b] to cuSeqlensKNew[b + 1] − 1 */
  readonly cuSeqlensKNew?: HostInts | undefined;
  /** [rows, maxPages], row after row. A page that the pool does not have is none: its keys are masked, none is written */
  readonly blockTable?: HostInts | undefined;
  /** Rows of `blockTable`. Default B; with `cacheBatchIdx` there may be more. */
  readonly blockTableRows?: number | undefined;
  /** [B]: the row of the cache, or of the block table, of each sequence; without keys if there is none. Default 0, 1, ... */
  readonly cacheBatchIdx?: HostInts | undefined;
  /** [B]: slots hidden at the start of each sequence. Default 0 */
  readonly cacheLeftpad?: HostInts | undefined;
  /** [L, rotaryDim/2] */
  readonly rotaryCos?: HostTensor | undefined;
  /** [L, rotaryDim/2] */
  readonly rotarySin?: HostTensor | undefined;
  /** Default true */
  readonly rotaryInterleaved?: boolean | undefined;
  /** The type of q, to which rotated queries are rounded. Default `storage`, else f32 */
  readonly dtype?: FloatDType | undefined;
  /** The type of the caches, to which new tokens are rounded. Default `dtype` */
  readonly kvDType?: FloatDType | undefined;
}

export interface AttnWithKvCacheResult extends AttentionResult {
  /** The cache after the append, in the array type that was given. */
  readonly kCache: HostTensor;
  readonly vCache: HostTensor;
}

/**
 * Appends new tokens to the cache, then attends to all of it. The arguments are not changed.
 *
 * Returns out shaped like q with the head size of v, lse [B, Hq, Sq] or [Hq, totalQ], and the caches.
 */
export function attnWithKvCacheReference(args: AttnWithKvCacheReferenceArgs): AttnWithKvCacheResult {
  const {
    k,
    v,
    causal = false,
    windowSize = [-1, -1],
    dtype = args.storage ?? 'f32',
    kvDType = dtype,
  } = args;
  checkTensors('attnWithKvCacheReference', {
    q: args.q,
    kCache: args.kCache,
    vCache: args.vCache,
    ...(k && { k }),
    ...(v && { v }),
    ...(args.rotaryCos && { rotaryCos: args.rotaryCos }),
    ...(args.rotarySin && { rotarySin: args.rotarySin }),
  });
  const { sequences, lseShape } = sequencesOf(args);
  const { q, kCache, vCache } = appendKv({
    q: args.q,
    kCache: args.kCache,
    vCache: args.vCache,
    k,
    v,
    sequences,
    rotary: rotaryOf(args),
    queriesAdvance: causal || windowSize[0] >= 0 || windowSize[1] >= 0,
    dtype,
    kvDType,
  });
  return { ...attend({ q, k: kCache, v: vCache, sequences, lseShape, options: args }), kCache, vCache };
}

function rotaryOf({
  rotaryCos,
  rotarySin,
  rotaryInterleaved = true,
}: AttnWithKvCacheReferenceArgs): Rotary | undefined {
  if (!rotaryCos && !rotarySin) return undefined;
  if (!rotaryCos || !rotarySin)
    throw new PageflashError('argument', 'attnWithKvCache: pass rotaryCos and rotarySin together.');
  return { cos: rotaryCos, sin: rotarySin, interleaved: rotaryInterleaved };
}

function sequencesOf(args: AttnWithKvCacheReferenceArgs): {
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
  const table = blockTable && pageTableOf(blockTable, args.blockTableRows ?? batch, kCache);

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
