import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Floats, Ints, Tensor } from '../core/tensor.js';
import type { Runtime } from '../runtime/runtime.js';
import { attentionOperation } from './attentionOperation.js';
import { OPTION_NAMES, type AttentionOptions, type AttentionResult } from './attentionArgs.js';
import { checkAppend, checkNewTokens } from './checkAppend.js';
import { checkBlockTable } from './checkBlockTable.js';
import { checkCacheLengths } from './checkCacheLengths.js';
import { checkBatch, countSequences } from './checkLengths.js';
import { checkNames, checkOptions } from './checkOptions.js';
import { checkQkv } from './checkQkv.js';
import { checkRuntime } from './checkRuntime.js';
import { runOperation, type Operation } from './outputs.js';
import { DENSE, RAGGED } from './queryLayout.js';
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
  /** [B + 1]: sequence b has the queries cuSeqlensQ[b] to cuSeqlensQ[b + 1] − 1. */
  readonly cuSeqlensQ?: Ints | undefined;
  /** [B + 1]: sequence b has the new tokens cuSeqlensKNew[b] to cuSeqlensKNew[b + 1] − 1. */
  readonly cuSeqlensKNew?: Ints | undefined;
  /** The most queries a sequence has; needed where `cuSeqlensQ` is on the GPU. What is beyond is cut off. */
  readonly maxSeqlenQ?: number | undefined;
  /** The most keys a sequence has, new ones included. Default, where lengths are on the GPU: what the cache holds. */
  readonly maxSeqlenK?: number | undefined;
  /** [B, maxPages], on the host flat, row after row: key j lies in page blockTable[b][⌊j / pageSize⌋]. */
  readonly blockTable?: Ints | undefined;
  /** [B]: the row of the cache, or of `blockTable`, that each sequence has. Default 0, 1, … */
  readonly cacheBatchIdx?: Ints | undefined;
  /** [B]: slots at the start that hold nothing. Positions count them all the same. */
  readonly cacheLeftpad?: Ints | undefined;
  /** [L, rotaryDim / 2]: cosines by position; on the host flat, row after row. New keys and queries are rotated by them. */
  readonly rotaryCos?: Floats | undefined;
  /** [L, rotaryDim / 2]: sines; where the cosines are, in their type. */
  readonly rotarySin?: Floats | undefined;
  /** Elements of a head that are rotated. Default: what the shape of rotaryCos says; on the host D. */
  readonly rotaryDim?: number | undefined;
  /** Whether elements (2t, 2t + 1) make a pair; else (t, t + rotaryDim / 2). Default true. */
  readonly rotaryInterleaved?: boolean | undefined;
}

const CALLER = 'attnWithKvCache';

const NAMES = [
  'q',
  'kCache',
  'vCache',
  'k',
  'v',
  'cacheSeqlens',
  'cuSeqlensQ',
  'cuSeqlensKNew',
  'maxSeqlenQ',
  'maxSeqlenK',
  'blockTable',
  'cacheBatchIdx',
  'cacheLeftpad',
  'rotaryCos',
  'rotarySin',
  'rotaryDim',
  'rotaryInterleaved',
  ...OPTION_NAMES,
];

/**
 * Attention over a KV cache, contiguous or in pages, after new tokens have been written to it in place.
 *
 * Serves decoding, chunks of prompts and batches of both. Gives out shaped like q with the head size of v, in q's type,
 * and, if asked for, lse f32 [B, Hq, Sq] or [Hq, totalQ]. The new key t of a sequence stands at cacheSeqlens + t; query i
 * is rotated for cacheSeqlens + i if the call is causal or has a window, else for cacheSeqlens.
 *
 * @throws PageflashError before anything is recorded or written
 * @example
 * // One new token for each of two sequences that have 70 and 9 tokens, in pages of 16.
 * const blockTable = [3, 8, 1, 0, 5, 7, -1, -1, -1, -1]; // five pages, then one
 * const { out } = attnWithKvCache(runtime, { q, k, v, kCache, vCache, cacheSeqlens: [70, 9], blockTable, causal: true });
 */
export function attnWithKvCache(runtime: Runtime, args: AttnWithKvCacheArgs): AttentionResult {
  checkRuntime(CALLER, runtime);
  return runOperation(runtime, args, kvCacheOperation(runtime.traits, args));
}

/** The call checked, and ready to be planned. */
export function kvCacheOperation(traits: DeviceTraits, args: AttnWithKvCacheArgs): Operation {
  checkNames(CALLER, args, NAMES);
  const { q, kCache, vCache, blockTable } = args;
  const layout = args.cuSeqlensQ === undefined ? DENSE : RAGGED;
  const keyDims = blockTable === undefined ? (['Bc', 'Sc'] as const) : (['P', 'pageSize'] as const);
  const dims = {
    q: [...layout.tokens, 'Hq', 'D'],
    k: [...keyDims, 'Hkv', 'D'],
    v: [...keyDims, 'Hkv', 'Dv'],
  } as const;
  const names = { k: 'kCache', v: 'vCache' };
  const { Hq, Hkv, D, Dv } = checkQkv(CALLER, { q, k: kCache, v: vCache, dims, names }, traits);
  const batch = args.cuSeqlensQ === undefined ? q.shape[0]! : countSequences(CALLER, args.cuSeqlensQ);
  checkBatch(CALLER, batch);
  const sizes = { batch, headDim: D, headDimV: Dv, nKvHeads: Hkv };
  checkNewTokens(args, sizes, traits);
  const { lengths, pages } = checkCacheLengths(args, batch, traits);
  const options = checkOptions(CALLER, args, { batch, nHeads: Hq, headDim: D }, traits);
  if (pages) checkBlockTable(CALLER, pages, lengths, options.masks);
  const append = checkAppend(args, { lengths, pages, masks: options.masks, headDim: D }, traits);
  const keyRows = pages ? pagedRows : denseRows;
  const problem = {
    caller: CALLER,
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
  // New tokens are read before anything else is written.
  const { k: _k, v: _v, rotaryCos: _cos, rotarySin: _sin, ...readWithOut } = args;
  return attentionOperation({ problem, lengths, layout, args: readWithOut }, traits);
}
