import { Call, readArgs } from '../check/call.js';
import { checkQkv } from '../check/checkAttentionTensors.js';
import { checkBlockMask } from '../check/checkBlockMask.js';
import { checkBatch, checkSeqlens } from '../check/checkLengths.js';
import { checkKeyRows } from '../check/checkKeyRows.js';
import { checkMods } from '../check/checkMods.js';
import { checkOptions } from '../check/checkOptions.js';
import { checkTokens } from '../check/checkTokens.js';
import { planAttention } from '../plan/planAttention.js';
import type { AttentionResult, AttnArgs } from '../problem/attentionArgs.js';
import { hostLengths } from '../problem/attentionProblem.js';
import { DENSE, denseRows } from '../problem/tokenRows.js';
import type { Runtime } from '../runtime/runtime.js';
import { ATTN_NAMES } from './argNames.js';
import { attentionOperation, readsWhileWriting, runOperation, type Operation } from './attentionOperation.js';

const HINT = { 3: 'For sequences end to end, use attnVarlen.' };

/** `attn` with `returnLse: true`, which also returns lse. */
export function attn(
  runtime: Runtime,
  args: AttnArgs & { readonly returnLse: true },
): Required<AttentionResult>;
/**
 * Computes attention over a dense batch, softmax(scale · q kᵀ) v, without storing the scores.
 *
 * Returns out [B, Sq, Hq, Dv] in q's type and, if asked for, lse f32 [B, Hq, Sq].
 *
 * @throws PageflashError before anything is recorded or written
 * @example
 * const { out } = attn(runtime, { q, k, v, causal: true });
 */
export function attn(runtime: Runtime, args: AttnArgs): AttentionResult;
export function attn(runtime: Runtime, args: AttnArgs): AttentionResult {
  const call = Call.on(runtime, 'attn');
  const given = readArgs(call, args, ATTN_NAMES);
  return runOperation(runtime, given, attnOperation(call, given));
}

function attnOperation(call: Call, args: AttnArgs): Operation {
  const { q, k, v } = args;
  const dims = {
    q: ['B', 'Sq', 'Hq', 'D'],
    k: ['B', 'Sk', 'Hkv', 'D'],
    v: ['B', 'Sk', 'Hkv', 'Dv'],
  } as const;
  const hints = { q: HINT, kv: HINT };
  const {
    dims: { B, Sq, Sk },
    heads,
  } = checkQkv(call, { q, k, v, dims, hints });
  checkBatch(call, B);
  checkSeqlens(call, 'queries', [Sq]);
  checkSeqlens(call, 'keys', [Sk]);
  const options = checkOptions(call, args, B, heads);
  const known = hostLengths({ qLen: new Int32Array(B).fill(Sq), kLen: new Int32Array(B).fill(Sk) });
  const { masks, lengths } = checkTokens(call, args, {
    layout: DENSE,
    masks: options.masks,
    lengths: known,
  });
  const rowsOfKeys = checkKeyRows(call, args, { q, layout: DENSE, lengths });
  const mods = checkMods(call, args);
  const blocks = checkBlockMask(call, args.blockMask, { batch: B, nHeads: heads.nHeads, lengths });
  const problem = {
    batch: B,
    ...heads,
    q: denseRows(q),
    k: denseRows(k),
    v: denseRows(v),
    pages: null,
    scales: null,
    append: null,
    sharedPrefix: null,
    ...options,
    masks,
    ...rowsOfKeys,
    mods,
    blocks,
  };
  const checkOverlaps = readsWhileWriting(args);
  return attentionOperation(call, args, {
    problem,
    lengths,
    layout: DENSE,
    checkOverlaps,
    planProblem: planAttention,
  });
}
