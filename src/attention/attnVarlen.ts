import { Call, readArgs } from '../check/call.js';
import { checkQkv } from '../check/checkAttentionTensors.js';
import { checkBlockMask } from '../check/checkBlockMask.js';
import { checkTablePages } from '../check/checkBlockTable.js';
import { checkScales } from '../check/checkScales.js';
import { checkKeyRows } from '../check/checkKeyRows.js';
import { checkMods } from '../check/checkMods.js';
import { checkOptions } from '../check/checkOptions.js';
import { checkKvRotation } from '../check/checkRotation.js';
import { checkTokens } from '../check/checkTokens.js';
import { checkVarlenLengths } from '../check/checkVarlenLengths.js';
import { FLOATS, KV_DTYPES } from '../core/dtype.js';
import { planPagedAttention } from '../plan/planTurns.js';
import type { AttentionResult, AttnVarlenArgs } from '../problem/attentionArgs.js';
import { pagedRows, RAGGED, raggedRows } from '../problem/tokenRows.js';
import type { Runtime } from '../runtime/runtime.js';
import { VARLEN_NAMES } from './argNames.js';
import {
  attentionOperation,
  readsWhileWriting,
  runOperation,
  type AttentionOperation,
} from './attentionOperation.js';

const KV_NAMES = { k: 'k', v: 'v' };
const HINTS = {
  q: { 4: 'For a dense batch, use attn.' },
  k: { 4: 'For a dense batch, use attn; for pages, pass blockTable.' },
  pages: { 3: 'For keys end to end, leave blockTable out.' },
};

/** `attnVarlen` with `returnLse: true`, which also returns lse. */
export function attnVarlen(
  runtime: Runtime,
  args: AttnVarlenArgs & { readonly returnLse: true },
): Required<AttentionResult>;
/**
 * Computes attention over a ragged batch: sequences of any lengths concatenated, with keys and values concatenated as well
 * or in pages.
 *
 * Returns out [totalQ, Hq, Dv] in q's type and, if asked for, lse f32 [Hq, totalQ].
 *
 * `cuSeqlensQ` may end before totalQ, as in a padded batch: rows after it are not computed. There, `out` and `lse` keep what
 * they hold, and are zeros if they are new.
 *
 * A `Batch` or a `Step` can be passed whole, `{ q, k, v, ...batch }`: `cuSeqlensQ`, `sequsedK`, `blockTable`, `maxSeqlenQ`
 * and `maxSeqlenK` are used, its other fields are not.
 *
 * @throws PageflashError before anything is recorded or written
 * @example
 * // A prompt of 3 tokens beside one of 5.
 * const { out } = attnVarlen(runtime, { q, k, v, cuSeqlensQ: [0, 3, 8], cuSeqlensK: [0, 3, 8], causal: true });
 */
export function attnVarlen(runtime: Runtime, args: AttnVarlenArgs): AttentionResult;
export function attnVarlen(runtime: Runtime, args: AttnVarlenArgs): AttentionResult {
  const call = Call.on(runtime, 'attnVarlen');
  const given = readVarlenArgs(call, args);
  return runOperation(runtime, given, varlenOperation(call, given));
}

/** The arguments, or some of them, without the fields that are not used. */
export function readVarlenArgs<Given extends Partial<AttnVarlenArgs>>(call: Call, given: Given): Given {
  const args = readArgs<AttnVarlenArgs, Given>(call, given, VARLEN_NAMES);
  checkRowOrder(call, given as { readonly cacheBatchIdx?: unknown });
  return args;
}

/** Refuses `cacheBatchIdx`: ignored, it would give wrong results. In a batch it is always undefined. */
export function checkRowOrder(call: Call, given: { readonly cacheBatchIdx?: unknown }): void {
  if (given.cacheBatchIdx !== undefined)
    call.refuse('argument', 'rows of blockTable are in the order of the sequences: leave cacheBatchIdx out.');
}

/** Checks a call and returns the operation, which can be planned. In a step of a plan, only what changed is checked. */
export function varlenOperation(call: Call, args: AttnVarlenArgs): AttentionOperation {
  const { memory } = call;
  const { q, k, v, kScale, vScale, blockTable } = args;
  const isPaged = blockTable !== undefined;
  const { heads } = memory.keep('sizes', [q, k, v, isPaged], () => {
    const keyDims = isPaged ? (['P', 'pageSize'] as const) : (['totalK'] as const);
    const dims = {
      q: ['totalQ', 'Hq', 'D'],
      k: [...keyDims, 'Hkv', 'D'],
      v: [...keyDims, 'Hkv', 'Dv'],
    } as const;
    return checkQkv(call, {
      q,
      k,
      v,
      dims,
      hints: { q: HINTS.q, kv: isPaged ? HINTS.pages : HINTS.k },
      // Quantised keys that follow each other would need scales of their own shape: they are a format of caches.
      kvDTypes: isPaged ? KV_DTYPES : FLOATS,
    });
  });
  const scales = memory.keep('scales', [kScale, vScale, k, v, isPaged], () =>
    checkScales(call, args, { k, v, names: KV_NAMES, isPaged }),
  );
  const turns = checkKvRotation(call, args.kvRotation, { q, k, v, names: KV_NAMES });
  const { batch, lengths: known, pages } = checkVarlenLengths(call, args);
  const options = checkOptions(call, args, batch, heads);
  const { masks, lengths } = checkTokens(call, args, {
    layout: RAGGED,
    masks: options.masks,
    lengths: known,
  });
  const rowsOfKeys = checkKeyRows(call, args, { q, layout: RAGGED, lengths });
  const mods = checkMods(call, args);
  const blocks = checkBlockMask(call, args.blockMask, { batch, nHeads: heads.nHeads, lengths: known });
  if (pages) checkTablePages(call, pages, lengths, masks);
  const of = [q, k, v, batch, heads, pages, scales, options, masks, rowsOfKeys, mods, blocks];
  const problem = memory.keep('problem without outputs', of, () => {
    const keyRows = pages ? pagedRows : raggedRows;
    return {
      batch,
      ...heads,
      q: raggedRows(q),
      k: keyRows(k),
      v: keyRows(v),
      pages,
      scales,
      append: null,
      sharedPrefix: null,
      ...options,
      masks,
      ...rowsOfKeys,
      mods,
      blocks,
    };
  });
  return attentionOperation(call, args, {
    problem,
    lengths,
    layout: RAGGED,
    turns,
    checkOverlaps: readsWhileWriting(args),
    planProblem: planPagedAttention,
  });
}
