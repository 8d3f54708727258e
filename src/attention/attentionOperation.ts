import type { Call } from '../check/call.js';
import {
  checkOutputs,
  checkOutputsApart,
  type GivenOutputs,
  type OutputRules,
} from '../check/checkAttentionTensors.js';
import type { SizeRule } from '../check/checkTensor.js';
import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch } from '../core/dispatch.js';
import type { DType } from '../core/dtype.js';
import { isTensor, type Tensor } from '../core/tensor.js';
import { modTensors } from '../check/checkMods.js';
import { checkDispatches } from '../plan/limits.js';
import type { PlanContext } from '../plan/planAttention.js';
import type { Lengths } from '../plan/planBatchInfo.js';
import type { AttentionOptions, AttentionResult } from '../problem/attentionArgs.js';
import type { AppendProblem, AttentionProblem } from '../problem/attentionProblem.js';
import type { QueryLayout } from '../problem/tokenRows.js';
import { turnedProblem } from '../problem/turned.js';
import type { Runtime } from '../runtime/runtime.js';
import type { TensorsByName } from './layerTensors.js';

/** The tensors that an operation writes. */
export interface Outputs {
  readonly out: Tensor;
  readonly lse: Tensor | undefined;
}

/** A checked call: what its outputs look like, and how it is planned once they are there. */
export interface Operation {
  readonly call: Call;
  readonly rules: OutputRules;
  readonly plan: (outputs: Outputs) => readonly Dispatch[];
}

/** Checks that the tensors of a call do not overlap where they must not, some of them being those of another layer. */
export type CheckOverlaps = (call: Call, layer: TensorsByName) => void;

/** An operation that can be planned once, and run for many layers. */
export interface AttentionOperation extends Operation {
  readonly checkOverlaps: CheckOverlaps;
}

/** The problem of a call whose inputs are checked, and its outputs not yet. */
export interface CheckedInputs<Append extends AppendProblem | null> {
  readonly problem: Omit<AttentionProblem<Append>, 'caller' | 'out' | 'lse' | 'turned'>;
  /** Whether heads of the cache are turned. Default false. */
  readonly turns?: boolean;
  readonly lengths: Lengths;
  readonly layout: QueryLayout;
  readonly checkOverlaps: CheckOverlaps;
  readonly planProblem: (
    problem: AttentionProblem<Append>,
    lengths: Lengths,
    traits: DeviceTraits,
    context: PlanContext,
  ) => readonly Dispatch[];
}

/** The operation of checked inputs. Checks the outputs, if the caller gave any, and that nothing overlaps. */
export function attentionOperation<Append extends AppendProblem | null>(
  call: Call,
  args: GivenOutputs & GivenMods,
  { problem, lengths, layout, turns = false, checkOverlaps, planProblem }: CheckedInputs<Append>,
): AttentionOperation {
  const { memory, name, traits } = call;
  const { out, lse } = args;
  const rules = memory.keep('rules of outputs', [problem], () => {
    const { dtype, shape } = problem.q.tensor;
    return {
      out: {
        dims: [...layout.tokens, 'Hq', 'Dv'],
        sizes: [...shape.slice(0, -1), problem.headDimV],
      },
      dtype,
      lse: { dims: layout.lse, sizes: layout.lseSizes(shape) },
    };
  });
  memory.keep('checked outputs', [out, lse, rules], () => checkOutputs(call, { out, lse }, rules));
  const tensors = [...Object.values(args).filter(isTensor), ...Object.values(modTensors(args))];
  memory.keep('checked overlaps', tensors, () => checkOverlaps(call, {}));
  const plan = (outputs: Outputs): readonly Dispatch[] => {
    const whole = memory.keep('problem', [name, problem, turns, outputs.out, outputs.lse], () => {
      const unturned = {
        caller: name,
        ...problem,
        out: layout.rows(outputs.out),
        lse: outputs.lse ? layout.lseRows(outputs.lse) : null,
      };
      return turns ? turnedProblem(unturned) : unturned;
    });
    return planProblem(whole, lengths, traits, call);
  };
  return { call, rules, checkOverlaps, plan };
}

/** The check of overlaps for a call that reads all of its arguments while it writes its outputs. */
export function readsWhileWriting(args: GivenOutputs & GivenMods): CheckOverlaps {
  return (call, layer) => {
    const { out, lse, ...read } = { ...args, ...modTensors(args), ...layer };
    checkOutputsApart(call, { out, lse }, read);
  };
}

type GivenMods = Pick<AttentionOptions, 'scoreMod' | 'maskMod'>;

/** The options that decide where an operation writes. */
type OutputOptions = Pick<AttentionOptions, 'out' | 'lse' | 'returnLse'>;

/** Dispatches, and the tensors that they write. */
interface PlannedOperation extends Outputs {
  readonly dispatches: readonly Dispatch[];
}

/** Plans an operation. Outputs that the caller did not give are made by `make`. */
export function planOperation(
  { call, rules, plan }: Operation,
  { out, lse, returnLse }: OutputOptions,
  make: (rule: SizeRule, dtype: DType, label: string) => Tensor,
): PlannedOperation {
  const outputs = {
    out: out ?? make(rules.out, rules.dtype, 'out'),
    lse: lse ?? (returnLse ? make(rules.lse, 'f32', 'lse') : undefined),
  };
  const dispatches = plan(outputs);
  call.memory.keep('checked dispatches', [dispatches], () =>
    checkDispatches(call.name, dispatches, call.traits),
  );
  return { ...outputs, dispatches };
}

/**
 * Runs an operation: records it into the caller's pass, or submits it at once. Outputs are made where the caller gave
 * none, and freed again if anything fails.
 */
export function runOperation(
  runtime: Runtime,
  args: OutputOptions & Pick<AttentionOptions, 'pass'>,
  operation: Operation,
): AttentionResult {
  const { name } = operation.call;
  const { out, lse } = runPlanned(runtime, { name, pass: args.pass }, (makeTensor) =>
    planOperation(operation, args, ({ sizes }, dtype, label) => makeTensor(sizes, dtype, label)),
  );
  return lse ? { out, lse } : { out };
}

/** Makes a tensor for a call. */
export type MakeTensor = (shape: readonly number[], dtype: DType, label: string) => Tensor;

/**
 * Runs what a call plans, in its name: records it into the caller's pass, or submits it at once. What `plan` makes is freed
 * again if anything fails.
 */
export function runPlanned<Planned extends { readonly dispatches: readonly Dispatch[] }>(
  runtime: Runtime,
  { name, pass }: { readonly name: string; readonly pass: GPUComputePassEncoder | undefined },
  plan: (makeTensor: MakeTensor) => Planned,
): Planned {
  const made: Tensor[] = [];
  const makeTensor: MakeTensor = (shape, dtype, label) => {
    const tensor = runtime.createTensor(shape, dtype, label);
    made.push(tensor);
    return tensor;
  };
  try {
    return runtime.inNameOf(name, () => {
      const planned = plan(makeTensor);
      if (pass) runtime.assertPrepared(name, planned.dispatches);
      if (pass) runtime.record(planned.dispatches, pass);
      else runtime.submit(planned.dispatches);
      return planned;
    });
  } catch (error) {
    for (const { buffer } of made) buffer.destroy();
    throw error;
  }
}
