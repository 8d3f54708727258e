import type { Dispatch } from '../core/dispatch.js';
import type { DType } from '../core/dtype.js';
import type { Tensor } from '../core/tensor.js';
import { checkDispatches } from '../plan/limits.js';
import type { Runtime } from '../runtime/runtime.js';
import type { AttentionOptions, AttentionResult } from '../problem/attentionArgs.js';
import type { Call } from './call.js';
import { checkSizes, type SizeRule } from './checkNumbers.js';
import { checkNoOverlapWithin, checkTensor, checkWritesApart } from './checkTensor.js';

/** What the outputs of a call look like. */
export interface OutputRules {
  readonly out: SizeRule;
  /** Of out. */
  readonly dtype: DType;
  readonly lse: SizeRule;
}

/** The tensors that a call writes. */
export interface Outputs {
  readonly out: Tensor;
  readonly lse: Tensor | undefined;
}

/** Checks the tensors that the caller wants written, each by itself. Nothing is made yet. */
export function checkOutputs(
  { name: caller, traits }: Call,
  { out, lse }: Pick<AttentionOptions, 'out' | 'lse'>,
  rules: OutputRules,
): void {
  const check = (name: string, tensor: Tensor | undefined, rule: SizeRule, dtype: DType): void => {
    if (tensor === undefined) return;
    checkTensor(caller, name, tensor, { dims: rule.dims, dtypes: [dtype] }, traits);
    checkSizes(caller, name, tensor, rule);
    checkNoOverlapWithin(caller, name, tensor);
  };
  check('out', out, rules.out, rules.dtype);
  check('lse', lse, rules.lse, 'f32');
}

/** Checks that what a call writes lies apart from all tensors that it reads. */
export function checkOutputsApart(
  caller: string,
  { out, lse, ...read }: Pick<AttentionOptions, 'out' | 'lse'> & Readonly<Record<string, unknown>>,
): void {
  checkWritesApart(caller, { out, lse }, read);
}

/** A checked call: what it gives, and how it is planned once there are tensors to write to. */
export interface Operation {
  /** The function that the user has called, for errors. */
  readonly caller: string;
  readonly rules: OutputRules;
  readonly plan: (outputs: Outputs) => Dispatch[];
}

/**
 * Plans an operation on its outputs, made now where the caller gave none, and hands it to the GPU. What was made is freed
 * again if that fails.
 */
export function runOperation(
  runtime: Runtime,
  args: AttentionOptions,
  { caller, rules, plan }: Operation,
): AttentionResult {
  const made: Tensor[] = [];
  const make = ({ sizes }: SizeRule, dtype: DType, label: string): Tensor => {
    const tensor = runtime.createTensor(sizes, dtype, label);
    made.push(tensor);
    return tensor;
  };
  try {
    return runtime.watch(caller, () => {
      const out = args.out ?? make(rules.out, rules.dtype, 'out');
      const lse = args.lse ?? (args.returnLse ? make(rules.lse, 'f32', 'lse') : undefined);
      const dispatches = plan({ out, lse });
      checkDispatches(caller, dispatches, runtime.traits);
      if (args.pass) runtime.record(dispatches, args.pass);
      else runtime.submit(dispatches);
      return lse ? { out, lse } : { out };
    });
  } catch (error) {
    for (const { buffer } of made) buffer.destroy();
    throw error;
  }
}
