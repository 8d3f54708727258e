import type { Dispatch } from '../core/dispatch.js';
import type { DType } from '../core/dtype.js';
import type { Tensor } from '../core/tensor.js';
import type { Runtime } from '../runtime/runtime.js';
import type { AttentionOptions, AttentionResult } from './attentionArgs.js';
import { checkNoOverlapWithin, checkTensor, checkWritesApart, fail, type TensorRule } from './checkTensor.js';

export interface OutputRule {
  /** The words for the shape, and the shape. */
  readonly dims: readonly string[];
  readonly shape: readonly number[];
}

/** The tensors that a call writes. */
export interface Outputs {
  readonly out: Tensor;
  readonly lse: Tensor | undefined;
}

/** Checks the tensors that the caller wants written. Nothing is made yet. */
export function checkOutputs(
  caller: string,
  runtime: Runtime,
  args: AttentionOptions & { readonly q: Tensor },
  rules: { readonly out: OutputRule; readonly lse: OutputRule },
): void {
  const { out, lse, q, ...rest } = args;
  const check = (
    name: string,
    tensor: Tensor | undefined,
    rule: OutputRule,
    dtype: TensorRule['dtypes'][0],
  ) => {
    if (tensor === undefined) return;
    checkTensor(caller, name, tensor, { dims: rule.dims, dtypes: [dtype] }, runtime.traits);
    if (rule.shape.some((size, axis) => tensor.shape[axis] !== size)) {
      fail(
        'shape',
        caller,
        `${name} must be [${rule.dims.join(', ')}] = [${rule.shape.join(', ')}], not [${tensor.shape.join(', ')}].`,
      );
    }
    checkNoOverlapWithin(caller, name, tensor);
  };
  check('out', out, rules.out, q.dtype);
  check('lse', lse, rules.lse, 'f32');
  checkWritesApart(caller, { out, lse }, { q, ...rest });
}

/**
 * Plans the work on the outputs, made now where the caller gave none, and hands it to the GPU. What was made is freed
 * again if that fails.
 */
export function runWithOutputs(
  runtime: Runtime,
  args: AttentionOptions & { readonly q: Tensor },
  rules: { readonly out: OutputRule; readonly lse: OutputRule },
  plan: (outputs: Outputs) => Dispatch[],
): AttentionResult {
  const made: Tensor[] = [];
  const make = ({ shape }: OutputRule, dtype: DType, label: string): Tensor => {
    const tensor = runtime.createTensor(shape, dtype, label);
    made.push(tensor);
    return tensor;
  };
  try {
    const out = args.out ?? make(rules.out, args.q.dtype, 'out');
    const lse = args.lse ?? (args.returnLse ? make(rules.lse, 'f32', 'lse') : undefined);
    const dispatches = plan({ out, lse });
    if (args.pass) runtime.record(dispatches, args.pass);
    else runtime.submit(dispatches);
    return lse ? { out, lse } : { out };
  } catch (error) {
    for (const { buffer } of made) buffer.destroy();
    throw error;
  }
}
