import { namesOf } from '../core/checkNames.js';
import type { Floats, Ints, Tensor } from '../core/tensor.js';
import type { Runtime } from '../runtime/runtime.js';
import { OPTIONS, type AttentionOptions, type AttentionResult } from './attentionArgs.js';
import { attentionOperation, type AttentionOperation, type CheckPlaces } from './attentionOperation.js';
import type { Call } from './call.js';
import { checkAppend, checkAppendApart, checkNewTokens } from './checkAppend.js';
import { checkBlockTable } from './checkBlockTable.js';
import { checkCacheLengths } from './checkCacheLengths.js';
import { checkBatch, countSequences } from './checkLengths.js';
import { checkOptions } from './checkOptions.js';
import { checkQkv } from './checkQkv.js';
import { checkRuntime } from './checkRuntime.js';
import { checkOutputsApart, runOperation } from './outputs.js';
import { DENSE, RAGGED } from './queryLayout.js';
import { NO_ARGUMENTS, readArgs, type BatchField } from './readArgs.js';
import { denseRows, pagedRows } from './rows.js';

export interface AttnWithKvCacheArgs extends AttentionOptions {
  /** [B, Sq, Hq, D], or [totalQ, Hq, D] with `cuSeqlensQ`; f32, f16 or bf16 */
  readonly q: Tensor;
  /** [Bc, Sc, Hkv, D], or pages [P, pageSize, Hkv, D] with `blockTable`; f32, f16 or bf16 */
  readonly kCache: Tensor;
  /** [Bc, Sc, Hkv, Dv], or pages [P, pageSize, Hkv, Dv] with `blockTable`; kCache's type */
  readonly vCache: Tensor;
  /** New tokens [B, Snew, Hkv, D], or [totalNew, Hkv, D] with `cuSeqlensKNew`, written to the cache first; any type */
  readonly k?: Tensor | undefined;
  /** New tokens [B, Snew, Hkv, Dv], or [totalNew, Hkv, Dv] with `cuSeqlensKNew`; k's type */
  readonly v?: Tensor | undefined;
  /** [B], or one number for all: tokens in the cache before the new ones. It is not changed. */
  readonly cacheSeqlens: number | Ints;
  /** [B + 1], from 0: sequence b has the queries cuSeqlensQ[b] to cuSeqlensQ[b + 1] − 1. */
  readonly cuSeqlensQ?: Ints | undefined;
  /**
   * [B + 1], from 0: sequence b has the new tokens cuSeqlensKNew[b] to cuSeqlensKNew[b + 1] − 1. Without k and v it may
   * only be what `cuSeqlensQ` is, as in a batch, and is not used.
   */
  readonly cuSeqlensKNew?: Ints | undefined;
  /** The most queries a sequence has; needed where `cuSeqlensQ` is on the GPU. What is beyond is cut off. */
  readonly maxSeqlenQ?: number | undefined;
  /** The most keys a sequence has, new ones included. Default, where lengths are on the GPU: what the cache holds. */
  readonly maxSeqlenK?: number | undefined;
  /**
   * [B, maxPages], on the host flat, row after row: key j lies in page blockTable[b][⌊j / pageSize⌋]. Where the table or
   * a length is on the GPU, a page that the pool does not have (−1 for padding) is none: nothing is written there, and
   * its keys are masked. On the host it is refused where a key needs it.
   */
  readonly blockTable?: Ints | undefined;
  /**
   * [B]: the row of the cache, or of `blockTable`, that each sequence has. On the GPU a row that is not there (−1 for
   * padding) is none: the sequence has no keys, and nothing is written. Default 0, 1, …
   */
  readonly cacheBatchIdx?: Ints | undefined;
  /** [B]: slots at the start that hold nothing. Positions count them all the same; chunks of attention do not. */
  readonly cacheLeftpad?: Ints | undefined;
  /**
   * [L, rotaryDim / 2]: cosines by position; on the host flat, row after row. New keys and queries are rotated by them. A
   * sequence that goes beyond position L − 1 is refused; where only the GPU knows, it has no keys, and nothing is written.
   */
  readonly rotaryCos?: Floats | undefined;
  /** [L, rotaryDim / 2]: sines; where the cosines are, in their type. */
  readonly rotarySin?: Floats | undefined;
  /** Elements of a head that are rotated. Default: what the shape of rotaryCos says; on the host D. */
  readonly rotaryDim?: number | undefined;
  /** Whether elements (2t, 2t + 1) make a pair; else (t, t + rotaryDim / 2). Default true. */
  readonly rotaryInterleaved?: boolean | undefined;
}

const CALLER = 'attnWithKvCache';

/** What a batch or a step has besides, which is not used. */
const UNUSED: Readonly<Record<Exclude<BatchField, keyof AttnWithKvCacheArgs>, true>> = {
  ...NO_ARGUMENTS,
  sequsedK: true,
};

const NAMES = {
  used: namesOf<AttnWithKvCacheArgs>({
    q: true,
    kCache: true,
    vCache: true,
    k: true,
    v: true,
    cacheSeqlens: true,
    cuSeqlensQ: true,
    cuSeqlensKNew: true,
    maxSeqlenQ: true,
    maxSeqlenK: true,
    blockTable: true,
    cacheBatchIdx: true,
    cacheLeftpad: true,
    rotaryCos: true,
    rotarySin: true,
    rotaryDim: true,
    rotaryInterleaved: true,
    ...OPTIONS,
  }),
  unused: namesOf(UNUSED),
};

const DENSE_HINTS = { 3: 'For sequences end to end, pass cuSeqlensQ.' };
const RAGGED_HINTS = { 4: 'For a dense batch, leave cuSeqlensQ out.' };

/** `attnWithKvCache` with `returnLse: true`, which gives lse as well. */
export function attnWithKvCache(
  runtime: Runtime,
  args: AttnWithKvCacheArgs & { readonly returnLse: true },
): Required<AttentionResult>;
/**
 * Attention over a KV cache, contiguous or in pages, after new tokens have been written to it in place.
 *
 * Serves decoding, chunks of prompts and batches of both. Gives out shaped like q with the head size of v, in q's type,
 * and, if asked for, lse f32 [B, Hq, Sq] or [Hq, totalQ]. The new key t of a sequence stands at cacheSeqlens + t; query i
 * is rotated for cacheSeqlens + i if the call is causal or has a window, else for cacheSeqlens.
 *
 * `cuSeqlensQ` may end before totalQ, as in a batch that is padded: rows behind it are not computed. There, `out` and `lse`
 * are left as they are, and are zeros where they are new. New tokens behind the end of `cuSeqlensKNew` are not written.
 *
 * A `Batch` or a `Step` can be passed whole, `{ q, k, v, ...cache.layer(i), ...batch }`: what it has besides arguments is
 * not used. Its `cacheSeqlens` leave the new tokens out; where those are in the cache already, so that no k and v are
 * passed, `cacheSeqlens: batch.sequsedK` counts them.
 *
 * @throws PageflashError before anything is recorded or written
 * @example
 * // One new token for each of two sequences that have 70 and 9 tokens, in pages of 16.
 * const blockTable = [3, 8, 1, 0, 5, 7, -1, -1, -1, -1]; // five pages, then one
 * const { out } = attnWithKvCache(runtime, { q, k, v, kCache, vCache, cacheSeqlens: [70, 9], blockTable, causal: true });
 */
export function attnWithKvCache(runtime: Runtime, args: AttnWithKvCacheArgs): AttentionResult;
export function attnWithKvCache(runtime: Runtime, args: AttnWithKvCacheArgs): AttentionResult {
  checkRuntime(CALLER, runtime);
  const given = readKvCacheArgs(CALLER, args);
  return runOperation(runtime, given, kvCacheOperation({ name: CALLER, traits: runtime.traits }, given));
}

/** The arguments, or some of them, without what is not used. */
export function readKvCacheArgs<Given extends Partial<AttnWithKvCacheArgs>>(
  caller: string,
  given: Given,
): Given {
  return readArgs<AttnWithKvCacheArgs, Given>(caller, given, NAMES);
}

/** The call checked, and ready to be planned. */
export function kvCacheOperation(call: Call, args: AttnWithKvCacheArgs): AttentionOperation {
  const { q, kCache, vCache, cuSeqlensQ, blockTable, out, lse } = args;
  const layout = cuSeqlensQ === undefined ? DENSE : RAGGED;
  const hints = { q: cuSeqlensQ === undefined ? DENSE_HINTS : RAGGED_HINTS };
  const keyDims = blockTable === undefined ? (['Bc', 'Sc'] as const) : (['P', 'pageSize'] as const);
  const dims = {
    q: [...layout.tokens, 'Hq', 'D'],
    k: [...keyDims, 'Hkv', 'D'],
    v: [...keyDims, 'Hkv', 'Dv'],
  } as const;
  const names = { k: 'kCache', v: 'vCache' };
  const { Hq, Hkv, D, Dv } = checkQkv(call, { q, k: kCache, v: vCache, dims, names, hints });
  const batch = cuSeqlensQ === undefined ? q.shape[0]! : countSequences(call.name, cuSeqlensQ, q.shape[0]!);
  checkBatch(call.name, batch);
  const sizes = { batch, headDim: D, headDimV: Dv, nKvHeads: Hkv };
  checkNewTokens(call, args, sizes);
  const { lengths, pages } = checkCacheLengths(call, args, batch);
  const options = checkOptions(call, args, { batch, nHeads: Hq, headDim: D });
  if (pages) checkBlockTable(call.name, pages, lengths, options.masks);
  const append = checkAppend(call, args, { lengths, pages, masks: options.masks, headDim: D });
  const keyRows = pages ? pagedRows : denseRows;
  const problem = {
    batch,
    nHeads: Hq,
    nKvHeads: Hkv,
    headDim: D,
    headDimV: Dv,
    q: layout.rows(q),
    k: keyRows(kCache),
    v: keyRows(vCache),
    pages,
    append,
    ...options,
  };
  const checkPlaces: CheckPlaces = (caller, layer) => {
    const placed = { ...args, ...layer };
    if (append?.newK) checkAppendApart(caller, placed);
    // New tokens are read before anything else is written.
    const { k: _k, v: _v, rotaryCos: _cos, rotarySin: _sin, ...readWithOut } = placed;
    checkOutputsApart(caller, readWithOut);
  };
  return attentionOperation(call, { problem, lengths, layout, outputs: { out, lse }, checkPlaces });
}
