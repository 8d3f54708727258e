import type { AttentionProblem, DeviceLengths, HostLengths } from '../problem/attentionProblem.js';
import { planAttention } from '../plan/planAttention.js';
import type { AttentionOptions } from '../problem/attentionArgs.js';
import type { Call } from '../check/call.js';
import type { TensorsOfLayer } from './layerTensors.js';
import { checkOutputs, type Operation } from '../check/checkOutputs.js';
import type { QueryLayout } from '../problem/queryLayout.js';

/** Attention, checked but for where it writes. */
export interface CheckedCall {
  readonly problem: Omit<AttentionProblem, 'caller' | 'out' | 'lse'>;
  readonly lengths: HostLengths | DeviceLengths;
  readonly layout: QueryLayout;
  /** The tensors to write, if the caller gave any. */
  readonly outputs: Pick<AttentionOptions, 'out' | 'lse'>;
  readonly checkPlaces: CheckPlaces;
}

/** Checks where the tensors of a call lie to each other, some of them being those of another layer instead. */
export type CheckPlaces = (caller: string, layer: TensorsOfLayer) => void;

/** A call that can be planned once, and made for many layers. */
export interface AttentionOperation extends Operation {
  readonly checkPlaces: CheckPlaces;
}

/** Checks the outputs of a call, the last of its arguments. */
export function attentionOperation(
  call: Call,
  { problem, lengths, layout, outputs: given, checkPlaces }: CheckedCall,
): AttentionOperation {
  const { dtype, shape } = problem.q.tensor;
  const rules = {
    out: { dims: [...layout.tokens, 'Hq', 'Dv'], sizes: [...shape.slice(0, -1), problem.headDimV] },
    dtype,
    lse: { dims: layout.lse, sizes: layout.lseSizes(shape) },
  };
  checkOutputs(call, given, rules);
  checkPlaces(call.name, {});
  return {
    caller: call.name,
    rules,
    checkPlaces,
    plan: ({ out, lse }) => {
      const outputs = { out: layout.rows(out), lse: lse ? layout.lseRows(lse) : null };
      return planAttention({ caller: call.name, ...problem, ...outputs }, lengths, call.traits);
    },
  };
}
