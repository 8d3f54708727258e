import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Tensor } from '../core/tensor.js';
import { hostLengths } from '../kernels/attentionProblem.js';
import type { Runtime } from '../runtime/runtime.js';
import { attentionOperation } from './attentionOperation.js';
import { OPTION_NAMES, type AttentionOptions, type AttentionResult } from './attentionArgs.js';
import { checkBatch, checkCountable } from './checkLengths.js';
import { checkNames, checkOptions } from './checkOptions.js';
import { checkQkv } from './checkQkv.js';
import { checkRuntime } from './checkRuntime.js';
import { runOperation, type Operation } from './outputs.js';
import { DENSE } from './queryLayout.js';
import { denseRows } from './rows.js';

export interface AttnArgs extends AttentionOptions {
  /** [B, Sq, Hq, D] in f32, f16 or bf16 */
  readonly q: Tensor;
  /** [B, Sk, Hkv, D] in f32, f16 or bf16; Hq is a multiple of Hkv */
  readonly k: Tensor;
  /** [B, Sk, Hkv, Dv] in k's type */
  readonly v: Tensor;
}

const CALLER = 'attn';

const NAMES = ['q', 'k', 'v', ...OPTION_NAMES];

/**
 * Attention over a dense batch, softmax(scale · q kᵀ) v, without ever holding the scores in memory.
 *
 * Gives out [B, Sq, Hq, Dv] in q's type and, if asked for, lse f32 [B, Hq, Sq].
 *
 * @throws PageflashError before anything is recorded or written
 * @example
 * const { out } = attn(runtime, { q, k, v, causal: true });
 */
export function attn(runtime: Runtime, args: AttnArgs): AttentionResult {
  checkRuntime(CALLER, runtime);
  return runOperation(runtime, args, attnOperation(runtime.traits, args));
}

function attnOperation(traits: DeviceTraits, args: AttnArgs): Operation {
  checkNames(CALLER, args, NAMES);
  const { q, k, v } = args;
  const dims = {
    q: ['B', 'Sq', 'Hq', 'D'],
    k: ['B', 'Sk', 'Hkv', 'D'],
    v: ['B', 'Sk', 'Hkv', 'Dv'],
  } as const;
  const { B, Sq, Sk, Hq, Hkv, D, Dv } = checkQkv(CALLER, { q, k, v, dims }, traits);
  checkBatch(CALLER, B);
  checkCountable(CALLER, [Sq], 'queries');
  checkCountable(CALLER, [Sk], 'keys');
  const options = checkOptions(CALLER, args, { batch: B, nHeads: Hq, headDim: D }, traits);
  const problem = {
    caller: CALLER,
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
  return attentionOperation({ problem, lengths, layout: DENSE, args }, traits);
}
