import { Call, checkPass } from '../check/call.js';
import { checkIsTensor, checkUnmapped, type SizeRule } from '../check/checkTensor.js';
import { bufferId } from '../core/gpuBuffers.js';
import { checkNames } from '../core/checkArguments.js';
import type { DType } from '../core/dtype.js';
import type { Tensor } from '../core/tensor.js';
import type {
  AttentionOptions,
  AttentionResult,
  AttnVarlenArgs,
  AttnWithKvCacheArgs,
} from '../problem/attentionArgs.js';
import type { Recording } from '../runtime/recording.js';
import type { Runtime } from '../runtime/runtime.js';
import { planOperation, type AttentionOperation, type CheckOverlaps } from './attentionOperation.js';
import { readVarlenArgs, varlenOperation } from './attnVarlen.js';
import { kvCacheOperation, readKvCacheArgs } from './attnWithKvCache.js';
import {
  checkAlike,
  isAlike,
  TENSOR_NAMES,
  plannedOf,
  RECORD_NAMES,
  copyOfTensor,
  withCopiedArrays,
  withCopiedTensors,
  type LayerTensors,
  type PlannedTensor,
  type TensorsByName,
} from './layerTensors.js';

/** Some of the arguments of a call, at least one. */
export type PlanChanges<Args extends object> = {
  [Name in keyof Args]-?: Partial<Args> & Readonly<Record<Name, Args[Name]>>;
}[keyof Args];

type PlanArgs = AttentionOptions & LayerTensors & { readonly q: Tensor };

/** The public call that a plan is for. */
interface CallKind<Args extends PlanArgs> {
  /** The public function, for errors. */
  readonly name: string;
  readonly pickArgs: (call: Call, given: Partial<Args>) => Partial<Args>;
  readonly operationOf: (call: Call, args: Args) => AttentionOperation;
}

/** Plans `attnVarlen` for all layers of a step: see `planAttnWithKvCache`. */
export function planAttnVarlen(runtime: Runtime, args: AttnVarlenArgs): AttentionPlan<AttnVarlenArgs> {
  return new AttentionPlan(runtime, args, {
    name: 'planAttnVarlen',
    pickArgs: readVarlenArgs,
    operationOf: varlenOperation,
  });
}

/**
 * Plans `attnWithKvCache` for all layers of a step: lengths, tables, work lists and scratch memory are made once. Each
 * layer is then recorded with its own tensors, at little more than the cost of the bare dispatches. From the second step
 * on nothing is created on the GPU.
 *
 * The arguments are those of `attnWithKvCache`, with the tensors of any layer; a `Batch` or a `Step` may be spread into
 * them. `out` may be left out until `record`. All arguments are copied: what changes in their arrays afterwards, as in
 * those of a batch, or in the offset or buffer of a tensor, does not change the plan.
 *
 * @throws PageflashError what `attnWithKvCache` throws
 * @example
 * const plan = planAttnWithKvCache(runtime, { q, k, v, ...cache.layer(0), ...batch, causal: true });
 * for (;;) {
 *   for (let layer = 0; layer < nLayers; layer++) plan.record({ q, k, v, ...cache.layer(layer), out, pass });
 *   // … submit, sample, reserve pages …
 *   plan.update({ q, k, v, ...batch });
 * }
 */
export function planAttnWithKvCache(
  runtime: Runtime,
  args: AttnWithKvCacheArgs,
): AttentionPlan<AttnWithKvCacheArgs> {
  return new AttentionPlan(runtime, args, {
    name: 'planAttnWithKvCache',
    pickArgs: readKvCacheArgs,
    operationOf: kvCacheOperation,
  });
}

/** A plan of one step's attention: see `planAttnWithKvCache`. */
export class AttentionPlan<Args extends PlanArgs = PlanArgs> {
  readonly #runtime: Runtime;
  readonly #recording: Recording;
  readonly #kind: CallKind<Args>;
  readonly #recordCall: Call;
  /** Copies, so that later changes by the caller have no effect. */
  #args: Args;
  #tensors: readonly PlannedTensor[] = [];
  #checkOverlaps: CheckOverlaps = () => {};
  #isDestroyed = false;

  /** @internal Use `planAttnVarlen` or `planAttnWithKvCache`. */
  constructor(runtime: Runtime, args: Args, kind: CallKind<Args>) {
    const call = Call.on(runtime, kind.name);
    this.#runtime = runtime;
    this.#kind = kind;
    this.#recordCall = new Call(`${kind.name}.record`, runtime.traits);
    const given = kind.pickArgs(call, args);
    this.#args = {} as Args;
    this.#recording = runtime.createRecording();
    this.#plan(call, given);
  }

  /**
   * Plans the next step: arguments that are named replace the earlier ones; undefined clears one. A `Batch` or a `Step`
   * can be passed whole. Submit what was recorded before the call, since the plan's buffers are overwritten.
   *
   * @throws PageflashError what the call itself would throw, and `argument` if no argument is named. If it
   * throws, the plan is unchanged
   */
  update(changes: PlanChanges<Args>): void {
    const call: Call = new Call(`${this.#kind.name}.update`, this.#runtime.traits);
    this.#assertUsable(call);
    const given = this.#kind.pickArgs(call, changes);
    if (Object.keys(given).length === 0) {
      call.refuse(
        'argument',
        'the object names no argument, so nothing would change. Pass what is new, such as the lengths of the next step, or a whole batch.',
      );
    }
    this.#plan(call, given);
  }

  /**
   * Records one layer with its tensors as they are now. They must have the types, shapes and strides of those that the
   * plan was made with.
   *
   * @throws PageflashError before anything is recorded
   */
  record(tensors: LayerTensors = {}): AttentionResult {
    const call = this.#recordCall;
    this.#assertUsable(call);
    checkNames(call.name, tensors, RECORD_NAMES, {
      hint: 'Lengths, tables and options are given to update.',
    });
    checkPass(call, tensors.pass);
    const layer = this.#layerOf(tensors);
    let key = this.#keyOf(layer);
    if (key === undefined || !this.#recording.has(key)) key = this.#bind(layer);
    this.#runtime.run(call.name, this.#recording.bound(key), tensors.pass);
    // Copies, so that the caller cannot change the plan's own tensors.
    const out = tensors.out ?? copyOfTensor(layer.out!);
    const lse = tensors.lse ?? (layer.lse && copyOfTensor(layer.lse));
    return lse ? { out, lse } : { out };
  }

  /** Frees the plan's memory. Submit what was recorded first. */
  destroy(): void {
    this.#isDestroyed = true;
    this.#recording.destroy();
  }

  #assertUsable(call: Call): void {
    this.#runtime.assertAlive(call.name);
    if (this.#isDestroyed) call.refuse('device', 'the plan was destroyed. Make a new one.');
  }

  #plan(call: Call, given: Partial<Args>): void {
    const changes = withCopiedTensors(given);
    const args: Args = { ...this.#args, ...changes };
    if (args.pass !== undefined) call.refuse('argument', 'pass belongs to record, not to the plan.');
    const operation = this.#kind.operationOf(call, args);
    // A placeholder that is never bound: `record` replaces it, or refuses.
    const placeholder = ({ sizes }: SizeRule, dtype: DType): Tensor => ({
      buffer: args.q.buffer,
      dtype,
      shape: sizes,
    });
    const { dispatches, ...outputs } = planOperation(operation, args, placeholder);
    this.#runtime.inNameOf(call.name, () => this.#recording.update(dispatches));
    this.#args = { ...args, ...withCopiedArrays(changes) };
    this.#tensors = plannedOf({ ...args, ...outputs });
    this.#checkOverlaps = operation.checkOverlaps;
  }

  /** Returns the layer's tensors: those given, else those of the plan. */
  #layerOf(tensors: LayerTensors): TensorsByName {
    const call = this.#recordCall;
    const layer: { -readonly [Name in keyof TensorsByName]: Tensor } = {};
    for (const { name } of this.#tensors) {
      const tensor = tensors[name] === undefined ? this.#args[name] : tensors[name];
      if (tensor === undefined)
        call.refuse(
          'argument',
          `${name} is missing, and the plan was made without one. Pass it to record: a plan makes no tensors.`,
        );
      checkIsTensor(call, name, tensor);
      checkUnmapped(call, name, tensor);
      layer[name] = tensor;
    }
    for (const name of TENSOR_NAMES) {
      if (tensors[name] === undefined || layer[name]) continue;
      call.refuse(
        'argument',
        `the plan was made without ${name}. Make it with ${name}, or leave ${name} out.`,
      );
    }
    return layer;
  }

  /**
   * Returns a key that is equal for layers with the same buffers and offsets; undefined if the plan was not made for such
   * tensors.
   */
  #keyOf(layer: TensorsByName): string | undefined {
    let key = '';
    for (const planned of this.#tensors) {
      const tensor = layer[planned.name]!;
      if (!isAlike(tensor, planned)) return undefined;
      key += ` ${bufferId(tensor.buffer)}:${tensor.offset ?? 0}`;
    }
    return key;
  }

  /** Checks a layer and makes its bind groups. Everything else was checked when it was planned. */
  #bind(layer: TensorsByName): string {
    const call = this.#recordCall;
    const copies = withCopiedTensors(layer);
    for (const planned of this.#tensors) checkAlike(call, copies[planned.name]!, planned);
    this.#checkOverlaps(call, copies);
    const key = this.#keyOf(copies)!;
    const replacements = new Map(this.#tensors.map(({ name, tensor }) => [tensor, copies[name]!]));
    this.#runtime.inNameOf(call.name, () => this.#recording.bind(key, replacements));
    return key;
  }
}
