import type { DeviceTraits } from '../core/deviceTraits.js';
import type { AttentionProblem, DeviceLengths, HostLengths } from '../kernels/attentionProblem.js';
import { planAttention } from '../plan/planAttention.js';
import type { AttentionOptions } from './attentionArgs.js';
import { checkOutputs, type Operation } from './outputs.js';
import type { QueryLayout } from './queryLayout.js';

/** Attention, checked but for where it writes. */
export interface CheckedCall {
  readonly problem: Omit<AttentionProblem, 'out' | 'lse'>;
  readonly lengths: HostLengths | DeviceLengths;
  readonly layout: QueryLayout;
  /** The tensors to write, if the caller gave any, and all that is read besides. */
  readonly args: Pick<AttentionOptions, 'out' | 'lse'>;
}

/** Checks the outputs of a call, the last of its arguments. */
export function attentionOperation(
  { problem, lengths, layout, args }: CheckedCall,
  traits: DeviceTraits,
): Operation {
  const { dtype, shape } = problem.q.tensor;
  const rules = {
    out: { dims: [...layout.tokens, 'Hq', 'Dv'], sizes: [...shape.slice(0, -1), problem.headDimV] },
    dtype,
    lse: { dims: layout.lse, sizes: layout.lseSizes(shape) },
  };
  checkOutputs(problem.caller, traits, args, rules);
  return {
    caller: problem.caller,
    rules,
    plan: ({ out, lse }) => {
      const outputs = { out: layout.rows(out), lse: lse ? layout.lseRows(lse) : null };
      return planAttention({ ...problem, ...outputs }, lengths, traits);
    },
  };
}
