import { Call, readArgs } from '../check/call.js';
import { checkAppend, checkAppendApart, checkNewTokens } from '../check/checkAppend.js';
import { checkOutputsApart, checkQkv } from '../check/checkAttentionTensors.js';
import { checkTablePages } from '../check/checkBlockTable.js';
import { checkCacheLengths } from '../check/checkCacheLengths.js';
import { checkBatch, countSequences } from '../check/checkLengths.js';
import { checkScales, checkSharedScales } from '../check/checkScales.js';
import { checkKeyRows } from '../check/checkKeyRows.js';
import { checkMods, modTensors } from '../check/checkMods.js';
import { checkOptions } from '../check/checkOptions.js';
import { checkKvRotation } from '../check/checkRotation.js';
import { checkSharedPrefix } from '../check/checkSharedPrefix.js';
import { checkTokens } from '../check/checkTokens.js';
import { KV_DTYPES } from '../core/dtype.js';
import { planCachedAttention } from '../plan/planAppend.js';
import type { AttentionResult, AttnWithKvCacheArgs } from '../problem/attentionArgs.js';
import { DENSE, denseRows, pagedRows, RAGGED } from '../problem/tokenRows.js';
import type { Runtime } from '../runtime/runtime.js';
import { KV_CACHE_NAMES } from './argNames.js';
import {
  attentionOperation,
  runOperation,
  type AttentionOperation,
  type CheckOverlaps,
} from './attentionOperation.js';

const DENSE_HINTS = { 3: 'For sequences end to end, pass cuSeqlensQ.' };
const RAGGED_HINTS = { 4: 'For a dense batch, leave cuSeqlensQ out.' };
const CACHE_NAMES = { k: 'kCache', v: 'vCache' };

/** `attnWithKvCache` with `returnLse: true`, which also returns lse. */
export function attnWithKvCache(
  runtime: Runtime,
  args: AttnWithKvCacheArgs & { readonly returnLse: true },
): Required<AttentionResult>;
/**
 * Appends new tokens to a KV cache in place, if there are any, and computes attention over it. The cache is contiguous or
 * in pages.
 *
 * For decoding, chunked prefill and batches of both. Returns out shaped like q with the head size of v, in q's type, and,
 * if asked for, lse f32 [B, Hq, Sq] or [Hq, totalQ]. The new key t of a sequence is at position cacheSeqlens + t; query i
 * is rotated for position cacheSeqlens + i if the call is causal or has a window, else for cacheSeqlens. With `positions`,
 * both are rotated for these.
 *
 * `cuSeqlensQ` may end before totalQ, as in a padded batch: rows after it are not computed. There, `out` and `lse` keep what
 * they hold, and are zeros if they are new. New tokens after the end of `cuSeqlensKNew` are not written.
 *
 * A `Batch` or a `Step` can be passed whole, `{ q, k, v, ...cache.layer(i), ...batch }`: its other fields are
 * not used. Its `cacheSeqlens` do not count the new tokens. If those are in the cache already, so that no k and v are
 * passed, pass `cacheSeqlens: batch.sequsedK`, which counts them.
 *
 * @throws PageflashError before anything is recorded or written
 * @example
 * // One new token for each of two sequences that have 70 and 9 tokens, in pages of 16.
 * const blockTable = [3, 8, 1, 0, 5, 7, -1, -1, -1, -1]; // five pages, then one
 * const { out } = attnWithKvCache(runtime, { q, k, v, kCache, vCache, cacheSeqlens: [70, 9], blockTable, causal: true });
 */
export function attnWithKvCache(runtime: Runtime, args: AttnWithKvCacheArgs): AttentionResult;
export function attnWithKvCache(runtime: Runtime, args: AttnWithKvCacheArgs): AttentionResult {
  const call = Call.on(runtime, 'attnWithKvCache');
  const given = readKvCacheArgs(call, args);
  return runOperation(runtime, given, kvCacheOperation(call, given));
}

/** The arguments, or some of them, without the fields that are not used. */
export function readKvCacheArgs<Given extends Partial<AttnWithKvCacheArgs>>(call: Call, given: Given): Given {
  checkNoBlockMask(call, given);
  return readArgs<AttnWithKvCacheArgs, Given>(call, given, KV_CACHE_NAMES);
}

/** Refuses `blockMask`, whose blocks are those of sequences of one length: in a cache they grow. */
export function checkNoBlockMask(call: Call, given: object): void {
  if (typeof given === 'object' && given !== null && 'blockMask' in given && given.blockMask !== undefined)
    call.refuse(
      'argument',
      'a cache takes no blockMask: its sequences grow, and blocks are those of one length. Pass mask or maskMod, or call attn or attnVarlen.',
    );
}

/** Checks a call and returns the operation, which can be planned. In a step of a plan, only what changed is checked. */
export function kvCacheOperation(call: Call, args: AttnWithKvCacheArgs): AttentionOperation {
  const { memory } = call;
  const { q, k, v, kCache, vCache, kScale, vScale, cuSeqlensQ, cuSeqlensKNew, blockTable } = args;
  const layout = cuSeqlensQ === undefined ? DENSE : RAGGED;
  const isPaged = blockTable !== undefined;
  const { heads } = memory.keep('sizes', [q, kCache, vCache, layout, isPaged], () => {
    const hints = { q: cuSeqlensQ === undefined ? DENSE_HINTS : RAGGED_HINTS };
    const keyDims = isPaged ? (['P', 'pageSize'] as const) : (['Bc', 'Sc'] as const);
    const dims = {
      q: [...layout.tokens, 'Hq', 'D'],
      k: [...keyDims, 'Hkv', 'D'],
      v: [...keyDims, 'Hkv', 'Dv'],
    } as const;
    return checkQkv(call, { q, k: kCache, v: vCache, dims, names: CACHE_NAMES, hints, kvDTypes: KV_DTYPES });
  });
  const scales = memory.keep('scales', [kScale, vScale, kCache, vCache, isPaged], () =>
    checkScales(call, args, { k: kCache, v: vCache, names: CACHE_NAMES, isPaged }),
  );
  const names = CACHE_NAMES;
  const turns = checkKvRotation(call, args.kvRotation, { q, k: kCache, v: vCache, names });
  const batch = cuSeqlensQ === undefined ? q.shape[0]! : countSequences(call, cuSeqlensQ, q.shape[0]!);
  checkBatch(call, batch);
  memory.keep('checked new tokens', [k, v, kCache, vCache, cuSeqlensKNew === undefined, batch, heads], () =>
    checkNewTokens(call, args, { batch, ...heads }),
  );
  if (k && !v)
    memory.keep('checked shared scales', [kCache, vCache, kScale, vScale], () =>
      checkSharedScales(call, args),
    );
  const { lengths: known, pages } = checkCacheLengths(call, args, batch);
  const options = checkOptions(call, args, batch, heads);
  const { masks, lengths } = checkTokens(call, args, {
    layout,
    masks: options.masks,
    lengths: known,
    newTokens: k,
    hasSections: args.rotarySections !== undefined,
  });
  const rowsOfKeys = checkKeyRows(call, args, { q, layout, lengths });
  const mods = checkMods(call, args);
  if (pages) checkTablePages(call, pages, lengths, masks);
  const append = checkAppend(call, args, { lengths, pages, masks, headDim: heads.headDim });
  const sharedPrefix = checkSharedPrefix(call, args.sharedPrefix, { pages, lengths });
  const of = [
    q,
    kCache,
    vCache,
    layout,
    batch,
    heads,
    pages,
    scales,
    append,
    sharedPrefix,
    options,
    masks,
    rowsOfKeys,
    mods,
  ];
  const problem = memory.keep('problem without outputs', of, () => {
    const keyRows = pages ? pagedRows : denseRows;
    return {
      batch,
      ...heads,
      q: layout.rows(q),
      k: keyRows(kCache),
      v: keyRows(vCache),
      pages,
      scales,
      append,
      sharedPrefix,
      ...options,
      masks,
      ...rowsOfKeys,
      mods,
      blocks: null,
    };
  });
  const checkOverlaps: CheckOverlaps = (current, layer) => {
    const placed = { ...args, ...modTensors(args), ...layer };
    if (append?.newK) checkAppendApart(current, placed, append.apart);
    // New tokens are read before anything else is written.
    const { k: _k, v: _v, rotaryCos: _cos, rotarySin: _sin, out, lse, ...read } = placed;
    checkOutputsApart(current, { out, lse }, read);
  };
  return attentionOperation(call, args, {
    problem,
    lengths,
    layout,
    turns,
    checkOverlaps,
    planProblem: planCachedAttention,
  });
}
