import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Ints, Tensor } from '../core/tensor.js';
import type { Runtime } from '../runtime/runtime.js';
import { attentionOperation } from './attentionOperation.js';
import { OPTION_NAMES, type AttentionOptions, type AttentionResult } from './attentionArgs.js';
import { checkBlockTable } from './checkBlockTable.js';
import { checkNames, checkOptions } from './checkOptions.js';
import { checkQkv } from './checkQkv.js';
import { checkVarlenLengths } from './checkVarlenLengths.js';
import { checkRuntime } from './checkRuntime.js';
import { runOperation, type Operation } from './outputs.js';
import { RAGGED } from './queryLayout.js';
import { pagedRows, raggedRows } from './rows.js';

export interface AttnVarlenArgs extends AttentionOptions {
  /** [totalQ, Hq, D] in f32, f16 or bf16 */
  readonly q: Tensor;
  /** [totalK, Hkv, D], or pages [P, pageSize, Hkv, D] with `blockTable`; f32, f16 or bf16 */
  readonly k: Tensor;
  /** [totalK, Hkv, Dv], or pages [P, pageSize, Hkv, Dv] with `blockTable`; k's type */
  readonly v: Tensor;
  /** [B + 1]: sequence b has the queries cuSeqlensQ[b] to cuSeqlensQ[b + 1] − 1. */
  readonly cuSeqlensQ: Ints;
  /** [B + 1]: likewise the keys. With `blockTable` only the differences count. */
  readonly cuSeqlensK?: Ints | undefined;
  /** [B]: only that many of a sequence's keys count. With `blockTable` it may stand in for `cuSeqlensK`. */
  readonly sequsedK?: Ints | undefined;
  /** The most queries a sequence has; needed where `cuSeqlensQ` is on the GPU. What is beyond is cut off. */
  readonly maxSeqlenQ?: number | undefined;
  /** The most keys a sequence has; needed where their lengths are on the GPU. What is beyond is cut off. */
  readonly maxSeqlenK?: number | undefined;
  /** [B, maxPages], on the host flat, row after row: key j lies in page blockTable[b][⌊j / pageSize⌋]. */
  readonly blockTable?: Ints | undefined;
}

const CALLER = 'attnVarlen';

const NAMES = [
  'q',
  'k',
  'v',
  'cuSeqlensQ',
  'cuSeqlensK',
  'sequsedK',
  'maxSeqlenQ',
  'maxSeqlenK',
  'blockTable',
  ...OPTION_NAMES,
];

/**
 * Attention over sequences of any lengths laid end to end, with keys and values end to end too or in pages.
 *
 * Gives out [totalQ, Hq, Dv] in q's type and, if asked for, lse f32 [Hq, totalQ].
 *
 * @throws PageflashError before anything is recorded or written
 * @example
 * // A prompt of 3 tokens beside one of 5.
 * const { out } = attnVarlen(runtime, { q, k, v, cuSeqlensQ: [0, 3, 8], cuSeqlensK: [0, 3, 8], causal: true });
 */
export function attnVarlen(runtime: Runtime, args: AttnVarlenArgs): AttentionResult {
  checkRuntime(CALLER, runtime);
  return runOperation(runtime, args, varlenOperation(runtime.traits, args));
}

/** The call checked, and ready to be planned. */
export function varlenOperation(traits: DeviceTraits, args: AttnVarlenArgs): Operation {
  checkNames(CALLER, args, NAMES);
  const { q, k, v, blockTable } = args;
  const keyDims = blockTable === undefined ? (['totalK'] as const) : (['P', 'pageSize'] as const);
  const dims = {
    q: ['totalQ', 'Hq', 'D'],
    k: [...keyDims, 'Hkv', 'D'],
    v: [...keyDims, 'Hkv', 'Dv'],
  } as const;
  const { Hq, Hkv, D, Dv } = checkQkv(CALLER, { q, k, v, dims }, traits);
  const { batch, lengths, pages } = checkVarlenLengths(args, traits);
  const options = checkOptions(CALLER, args, { batch, nHeads: Hq, headDim: D }, traits);
  if (pages) checkBlockTable(CALLER, pages, lengths, options.masks);
  const keyRows = pages ? pagedRows : raggedRows;
  const problem = {
    caller: CALLER,
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
  return attentionOperation({ problem, lengths, layout: RAGGED, args }, traits);
}
