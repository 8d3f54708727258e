import { namesOf } from '../core/checkNames.js';
import { fail } from '../core/errors.js';
import type { Ints, Tensor } from '../core/tensor.js';
import type { Runtime } from '../runtime/runtime.js';
import { OPTIONS, type AttentionOptions, type AttentionResult } from './attentionArgs.js';
import { attentionOperation, type AttentionOperation } from './attentionOperation.js';
import type { Call } from './call.js';
import { checkBlockTable } from './checkBlockTable.js';
import { checkOptions } from './checkOptions.js';
import { checkQkv } from './checkQkv.js';
import { checkVarlenLengths } from './checkVarlenLengths.js';
import { checkRuntime } from './checkRuntime.js';
import { checkOutputsApart, runOperation } from './outputs.js';
import { RAGGED } from './queryLayout.js';
import { NO_ARGUMENTS, readArgs, type BatchField } from './readArgs.js';
import { pagedRows, raggedRows } from './rows.js';

export interface AttnVarlenArgs extends AttentionOptions {
  /** [totalQ, Hq, D] in f32, f16 or bf16 */
  readonly q: Tensor;
  /** [totalK, Hkv, D], or pages [P, pageSize, Hkv, D] with `blockTable`; f32, f16 or bf16 */
  readonly k: Tensor;
  /** [totalK, Hkv, Dv], or pages [P, pageSize, Hkv, Dv] with `blockTable`; k's type */
  readonly v: Tensor;
  /** [B + 1], from 0: sequence b has the queries cuSeqlensQ[b] to cuSeqlensQ[b + 1] − 1. */
  readonly cuSeqlensQ: Ints;
  /** [B + 1], from 0: likewise the keys. With `blockTable` only the differences count. */
  readonly cuSeqlensK?: Ints | undefined;
  /** [B]: only that many of a sequence's keys count. With `blockTable` it may stand in for `cuSeqlensK`. */
  readonly sequsedK?: Ints | undefined;
  /** The most queries a sequence has; needed where `cuSeqlensQ` is on the GPU. What is beyond is cut off. */
  readonly maxSeqlenQ?: number | undefined;
  /** The most keys a sequence has; needed where their lengths are on the GPU. What is beyond is cut off. */
  readonly maxSeqlenK?: number | undefined;
  /**
   * [B, maxPages], on the host flat, row after row: key j lies in page blockTable[b][⌊j / pageSize⌋]. Where the table or
   * a length is on the GPU, a page that the pool does not have (−1 for padding) is none: its keys are masked. On the host
   * it is refused where a key needs it.
   */
  readonly blockTable?: Ints | undefined;
}

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
