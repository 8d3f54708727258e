import { Call, checkPass } from '../check/call.js';
import { checkIsTensor, checkUnmapped, type SizeRule } from '../check/checkTensor.js';
import { checkNames } from '../core/checkArguments.js';
import type { Dispatch } from '../core/dispatch.js';
import type { DType } from '../core/dtype.js';
import { StepMemory } from '../core/stepMemory.js';
import type { Tensor } from '../core/tensor.js';
import type {
  AttentionOptions,
  AttentionResult,
  AttnVarlenArgs,
  AttnWithKvCacheArgs,
} from '../problem/attentionArgs.js';
import type { BoundLayer, Recording } from '../runtime/recording.js';
import type { Runtime } from '../runtime/runtime.js';
import { planOperation, type AttentionOperation, type CheckOverlaps } from './attentionOperation.js';
import { readVarlenArgs, varlenOperation } from './attnVarlen.js';
import { kvCacheOperation, readKvCacheArgs } from './attnWithKvCache.js';
import { BoundLayers } from './boundLayers.js';
import {
  checkAlike,
  copyOfTensor,
  plannedOf,
  RECORD_NAMES,
  TENSOR_NAMES,
  type LayerTensors,
  type PlanTensors,
  type TensorsByName,
} from './layerTensors.js';
import { PlanArguments } from './planArguments.js';

/** Some of the arguments of a call, at least one. */
export type PlanChanges<Args extends object> = {
  [Name in keyof Args]-?: Partial<Args> & Readonly<Record<Name, Args[Name]>>;
}[keyof Args];

type PlanArgs = AttentionOptions & PlanTensors & { readonly q: Tensor };

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
  readonly #memory = new StepMemory();
  readonly #updateCall: Call;
  readonly #recordCall: Call;
  readonly #args = new PlanArguments<Args>();
  readonly #layers = new BoundLayers();
  #checkOverlaps: CheckOverlaps = () => {};
  #isDestroyed = false;

  /** @internal Use `planAttnVarlen` or `planAttnWithKvCache`. */
  constructor(runtime: Runtime, args: Args, kind: CallKind<Args>) {
    const call = Call.on(runtime, kind.name, this.#memory);
    this.#runtime = runtime;
    this.#kind = kind;
    this.#updateCall = new Call(`${kind.name}.update`, runtime, this.#memory);
    this.#recordCall = new Call(`${kind.name}.record`, runtime);
    const given = kind.pickArgs(call, args);
    this.#recording = runtime.createRecording();
    this.#plan(call, given);
  }

  /**
   * Plans the next step: arguments that are named replace the earlier ones; undefined clears one. A `Batch` or a `Step`
   * can be passed whole. Submit what was recorded before the call, since the plan's buffers are overwritten.
   *
   * Only what changed is checked, planned and uploaded again. Lengths, slopes and sinks on the GPU are read once a step, so
   * a step whose new lengths are in the same tensors begins by naming one of these: `plan.update({ cacheSeqlens })`.
   *
   * @throws PageflashError what the call itself would throw, and `argument` if no argument is named. If it
   * throws, the plan is unchanged
   */
  update(changes: PlanChanges<Args>): void {
    const call = this.#updateCall;
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
   * Lengths, slopes and sinks on the GPU are read by the first layer after an update, and by the first in each pass, as they
   * are by then. Layers without `pass` have a pass each.
   *
   * @throws PageflashError before anything is recorded
   */
  record(tensors: LayerTensors = {}): AttentionResult {
    const call = this.#recordCall;
    this.#assertUsable(call);
    checkNames(call.name, tensors, RECORD_NAMES, RECORD_HINT);
    const { pass, kvRotation } = tensors;
    checkPass(call, pass);
    if (kvRotation !== undefined && kvRotation !== this.#args.current.kvRotation)
      call.refuse(
        'argument',
        'the plan was made without kvRotation. Make it with the kvRotation of the layers, or leave it out.',
      );
    if (pass) this.#recording.assertPrepared(call.name);
    if (this.#recording.isStale) {
      this.#runtime.inNameOf(call.name, () => this.#recording.renew());
      this.#layers.clear();
    }
    const layer = this.#layers.find(tensors) ?? this.#bind(tensors);
    if (pass) this.#recording.encode(layer, pass);
    else this.#runtime.submitLayer(call.name, this.#recording, layer);
    // Copies, so that the caller cannot change the plan's own tensors.
    const out = tensors.out ?? copyOfTensor(this.#args.current.out!);
    const { lse } = this.#args.current;
    const lseOfLayer = tensors.lse ?? (lse && copyOfTensor(lse));
    return lseOfLayer ? { out, lse: lseOfLayer } : { out };
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
    const memory = this.#memory;
    memory.begin();
    try {
      const args = this.#args.merge(given);
      if (args.pass !== undefined) call.refuse('argument', 'pass belongs to record, not to the plan.');
      // Whether the caller's own arrays are what they were cannot be seen from their identity.
      if (this.#args.borrows) memory.forget();
      const operation = this.#kind.operationOf(call, args);
      // A placeholder that is never bound: `record` replaces it, or refuses.
      const placeholder = ({ sizes }: SizeRule, dtype: DType, label: string): Tensor =>
        memory.keep(`place of ${label}`, [operation.rules, args.q], () => ({
          buffer: args.q.buffer,
          dtype,
          shape: sizes,
        }));
      const { dispatches, ...outputs } = planOperation(operation, args, placeholder);
      const tensors: PlanTensors = { ...args, ...outputs };
      const planned = memory.keep(
        'planned tensors',
        TENSOR_NAMES.map((name) => tensors[name]),
        () => plannedOf(tensors),
      );
      this.#upload(call, dispatches);
      this.#args.keep(args);
      if (planned !== this.#layers.planned) this.#layers.reset(planned, args);
      this.#checkOverlaps = operation.checkOverlaps;
    } catch (error) {
      memory.forget();
      throw error;
    }
  }

  #upload(call: Call, dispatches: readonly Dispatch[]): void {
    const recording = this.#recording;
    if (recording.repeat(dispatches)) return;
    const isInPlace = this.#runtime.inNameOf(call.name, () => recording.update(dispatches));
    if (!isInPlace) this.#layers.clear();
  }

  /** Checks a layer and makes its bind groups. Everything else was checked when it was planned. */
  #bind(tensors: LayerTensors): BoundLayer {
    const call = this.#recordCall;
    const { planned } = this.#layers;
    const layer = this.#layerOf(tensors);
    for (const each of planned) checkAlike(call, layer[each.name]!, each);
    this.#checkOverlaps(call, layer);
    const replacements = new Map(planned.map(({ name, tensor }) => [tensor, layer[name]!]));
    const groups = this.#runtime.inNameOf(call.name, () => this.#recording.bind(replacements));
    this.#layers.add(layer, groups);
    return groups;
  }

  /** Returns copies of the layer's tensors: those given, else those of the plan. */
  #layerOf(tensors: LayerTensors): TensorsByName {
    const call = this.#recordCall;
    const layer: { -readonly [Name in keyof TensorsByName]: Tensor } = {};
    for (const { name } of this.#layers.planned) {
      const tensor = tensors[name] === undefined ? this.#args.current[name] : tensors[name];
      if (tensor === undefined)
        call.refuse(
          'argument',
          `${name} is missing, and the plan was made without one. Pass it to record: a plan makes no tensors.`,
        );
      checkIsTensor(call, name, tensor);
      checkUnmapped(call, name, tensor);
      layer[name] = copyOfTensor(tensor);
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
}

const RECORD_HINT = { hint: 'Lengths, tables and options are given to update.' };
