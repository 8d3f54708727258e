import { namesOf } from '../core/checkArguments.js';
import type { Tensor } from '../core/tensor.js';
import { hostLengths } from '../problem/attentionProblem.js';
import type { Runtime } from '../runtime/runtime.js';
import { OPTIONS, type AttentionOptions, type AttentionResult } from '../problem/attentionArgs.js';
import { attentionOperation } from './attentionOperation.js';
import type { Call } from '../check/call.js';
import { checkBatch, checkCountable } from '../check/checkLengths.js';
import { checkOptions } from '../check/checkOptions.js';
import { checkQkv } from '../check/checkQkv.js';
import { checkRuntime } from '../check/checkRuntime.js';
import { checkOutputsApart, runOperation, type Operation } from '../check/checkOutputs.js';
import { DENSE } from '../problem/queryLayout.js';
import { readArgs } from '../check/readArgs.js';
import { denseRows } from '../problem/rows.js';

export interface AttnArgs extends AttentionOptions {
  /** [B, Sq, Hq, D] in f32, f16 or bf16 */
  readonly q: Tensor;
  /** [B, Sk, Hkv, D] in f32, f16 or bf16; Hq is a multiple of Hkv */
  readonly k: Tensor;
  /** [B, Sk, Hkv, Dv] in k's type */
  readonly v: Tensor;
}

const CALLER = 'attn';

const NAMES = { used: namesOf<AttnArgs>({ q: true, k: true, v: true, ...OPTIONS }), unused: [] };

const HINT = { 3: 'For sequences end to end, use attnVarlen.' };

/** `attn` with `returnLse: true`, which gives lse as well. */
export function attn(
  runtime: Runtime,
  args: AttnArgs & { readonly returnLse: true },
): Required<AttentionResult>;
/**
 * Attention over a dense batch, softmax(scale · q kᵀ) v, without ever holding the scores in memory.
 *
 * Gives out [B, Sq, Hq, Dv] in q's type and, if asked for, lse f32 [B, Hq, Sq].
 *
 * @throws PageflashError before anything is recorded or written
 * @example
 * const { out } = attn(runtime, { q, k, v, causal: true });
 */
export function attn(runtime: Runtime, args: AttnArgs): AttentionResult;
export function attn(runtime: Runtime, args: AttnArgs): AttentionResult {
  checkRuntime(CALLER, runtime);
  const given = readArgs(CALLER, args, NAMES);
  return runOperation(runtime, given, attnOperation({ name: CALLER, traits: runtime.traits }, given));
}

function attnOperation(call: Call, args: AttnArgs): Operation {
  const { q, k, v, out, lse } = args;
  const dims = {
    q: ['B', 'Sq', 'Hq', 'D'],
    k: ['B', 'Sk', 'Hkv', 'D'],
    v: ['B', 'Sk', 'Hkv', 'Dv'],
  } as const;
  const { B, Sq, Sk, Hq, Hkv, D, Dv } = checkQkv(call, {
    q,
    k,
    v,
    dims,
    hints: { q: HINT, kv: HINT },
  });
  checkBatch(CALLER, B);
  checkCountable(CALLER, [Sq], 'queries');
  checkCountable(CALLER, [Sk], 'keys');
  const options = checkOptions(call, args, { batch: B, nHeads: Hq, headDim: D });
  const problem = {
    batch: B,
    nHeads: Hq,
    nKvHeads: Hkv,
    headDim: D,
    headDimV: Dv,
    q: denseRows(q),
    k: denseRows(k),
    v: denseRows(v),
    pages: null,
    append: null,
    ...options,
  };
  const lengths = hostLengths({ qLen: new Int32Array(B).fill(Sq), kLen: new Int32Array(B).fill(Sk) });
  return attentionOperation(call, {
    problem,
    lengths,
    layout: DENSE,
    outputs: { out, lse },
    checkPlaces: (caller, layer) => checkOutputsApart(caller, { ...args, ...layer }),
  });
}
