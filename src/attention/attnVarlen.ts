import { namesOf } from '../core/checkArguments.js';
import { fail } from '../core/errors.js';
import type { Runtime } from '../runtime/runtime.js';
import { OPTIONS, type AttentionResult, type AttnVarlenArgs } from '../problem/attentionArgs.js';
import { attentionOperation, type AttentionOperation } from './attentionOperation.js';
import type { Call } from '../check/call.js';
import { checkBlockTable } from '../check/checkBlockTable.js';
import { checkOptions } from '../check/checkOptions.js';
import { checkQkv } from '../check/checkQkv.js';
import { checkVarlenLengths } from '../check/checkVarlenLengths.js';
import { checkRuntime } from '../check/checkRuntime.js';
import { checkOutputsApart, runOperation } from '../check/checkOutputs.js';
import { RAGGED } from '../problem/queryLayout.js';
import { NO_ARGUMENTS, readArgs, type BatchField } from '../check/readArgs.js';
import { pagedRows, raggedRows } from '../problem/rows.js';

const CALLER = 'attnVarlen';

/** What a batch or a step has besides, which is not used. */
const UNUSED: Readonly<Record<Exclude<BatchField, keyof AttnVarlenArgs>, true>> = {
  ...NO_ARGUMENTS,
  cacheSeqlens: true,
  cuSeqlensKNew: true,
  cacheBatchIdx: true,
};

const NAMES = {
  used: namesOf<AttnVarlenArgs>({
    q: true,
    k: true,
    v: true,
    cuSeqlensQ: true,
    cuSeqlensK: true,
    sequsedK: true,
    maxSeqlenQ: true,
    maxSeqlenK: true,
    blockTable: true,
    ...OPTIONS,
  }),
  unused: namesOf(UNUSED),
};

const HINTS = {
  q: { 4: 'For a dense batch, use attn.' },
  k: { 4: 'For a dense batch, use attn; for pages, pass blockTable.' },
  pages: { 3: 'For keys end to end, leave blockTable out.' },
};

/** `attnVarlen` with `returnLse: true`, which gives lse as well. */
export function attnVarlen(
  runtime: Runtime,
  args: AttnVarlenArgs & { readonly returnLse: true },
): Required<AttentionResult>;
/**
 * Attention over sequences of any lengths laid end to end, with keys and values end to end too or in pages.
 *
 * Gives out [totalQ, Hq, Dv] in q's type and, if asked for, lse f32 [Hq, totalQ].
 *
 * `cuSeqlensQ` may end before totalQ, as in a batch that is padded: rows behind it are not computed. There, `out` and `lse`
 * are left as they are, and are zeros where they are new.
 *
 * A `Batch` or a `Step` can be passed whole, `{ q, k, v, ...batch }`: `cuSeqlensQ`, `sequsedK`, `blockTable`, `maxSeqlenQ`
 * and `maxSeqlenK` are used, all else that it has is not.
 *
 * @throws PageflashError before anything is recorded or written
 * @example
 * // A prompt of 3 tokens beside one of 5.
 * const { out } = attnVarlen(runtime, { q, k, v, cuSeqlensQ: [0, 3, 8], cuSeqlensK: [0, 3, 8], causal: true });
 */
export function attnVarlen(runtime: Runtime, args: AttnVarlenArgs): AttentionResult;
export function attnVarlen(runtime: Runtime, args: AttnVarlenArgs): AttentionResult {
  checkRuntime(CALLER, runtime);
  const given = readVarlenArgs(CALLER, args);
  return runOperation(runtime, given, varlenOperation({ name: CALLER, traits: runtime.traits }, given));
}

/** The arguments, or some of them, without what is not used. */
export function readVarlenArgs<Given extends Partial<AttnVarlenArgs>>(caller: string, given: Given): Given {
  const args = readArgs<AttnVarlenArgs, Given>(caller, given, NAMES);
  // Ignoring it would give wrong results. In a batch it is always undefined.
  if ((given as { readonly cacheBatchIdx?: unknown }).cacheBatchIdx !== undefined)
    fail(
      'argument',
      caller,
      'rows of blockTable are in the order of the sequences: leave cacheBatchIdx out.',
    );
  return args;
}

/** The call checked, and ready to be planned. */
export function varlenOperation(call: Call, args: AttnVarlenArgs): AttentionOperation {
  const { q, k, v, blockTable, out, lse } = args;
  const keyDims = blockTable === undefined ? (['totalK'] as const) : (['P', 'pageSize'] as const);
  const dims = {
    q: ['totalQ', 'Hq', 'D'],
    k: [...keyDims, 'Hkv', 'D'],
    v: [...keyDims, 'Hkv', 'Dv'],
  } as const;
  const hints = { q: HINTS.q, kv: blockTable === undefined ? HINTS.k : HINTS.pages };
  const { Hq, Hkv, D, Dv } = checkQkv(call, { q, k, v, dims, hints });
  const { batch, lengths, pages } = checkVarlenLengths(call, args);
  const options = checkOptions(call, args, { batch, nHeads: Hq, headDim: D });
  if (pages) checkBlockTable(call.name, pages, lengths, options.masks);
  const keyRows = pages ? pagedRows : raggedRows;
  const problem = {
    batch,
    nHeads: Hq,
    nKvHeads: Hkv,
    headDim: D,
    headDimV: Dv,
    q: raggedRows(q),
    k: keyRows(k),
    v: keyRows(v),
    pages,
    append: null,
    ...options,
  };
  return attentionOperation(call, {
    problem,
    lengths,
    layout: RAGGED,
    outputs: { out, lse },
    checkPlaces: (caller, layer) => checkOutputsApart(caller, { ...args, ...layer }),
  });
}
