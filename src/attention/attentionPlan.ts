import { bufferId } from '../core/gpuBuffers.js';
import { checkNames, namesOf } from '../core/checkArguments.js';
import { describe, fail } from '../core/errors.js';
import { bytesPerElement, isDType, type DType } from '../core/dtype.js';
import {
  contiguousStrides,
  isTensor,
  sameNumbers,
  stridesOf,
  WINDOW_ALIGNMENT,
  windowOf,
  type Tensor,
} from '../core/tensor.js';
import { checkDispatches } from '../plan/limits.js';
import type { Recording } from '../runtime/recording.js';
import type { Runtime } from '../runtime/runtime.js';
import type {
  AttentionOptions,
  AttentionResult,
  AttnVarlenArgs,
  AttnWithKvCacheArgs,
} from '../problem/attentionArgs.js';
import type { AttentionOperation, CheckPlaces } from './attentionOperation.js';
import { readVarlenArgs, varlenOperation } from './attnVarlen.js';
import { kvCacheOperation, readKvCacheArgs } from './attnWithKvCache.js';
import { viewOf, withCopies, withViews } from './byValue.js';
import type { Call } from '../check/call.js';
import type { SizeRule } from '../check/checkNumbers.js';
import { checkPass } from '../check/checkOptions.js';
import { checkRuntime } from '../check/checkRuntime.js';
import { checkTensor, checkUnmapped } from '../check/checkTensor.js';
import { LAYER_TENSORS, type TensorsOfLayer } from './layerTensors.js';

/** Tensors of one layer. Those left out are the ones that the plan was made with. */
export interface LayerTensors {
  readonly q?: Tensor | undefined;
  readonly k?: Tensor | undefined;
  readonly v?: Tensor | undefined;
  readonly kCache?: Tensor | undefined;
  readonly vCache?: Tensor | undefined;
  readonly out?: Tensor | undefined;
  readonly lse?: Tensor | undefined;
  /** A pass to record into, which the caller ends and submits. Default: the call submits its own work at once. */
  readonly pass?: GPUComputePassEncoder | undefined;
}

const RECORD_NAMES = namesOf<LayerTensors>({
  q: true,
  k: true,
  v: true,
  kCache: true,
  vCache: true,
  out: true,
  lse: true,
  pass: true,
});

/** Arguments of a call, at least one of them. */
export type PlanChanges<Args extends object> = {
  [Name in keyof Args]-?: Partial<Args> & Readonly<Record<Name, Args[Name]>>;
}[keyof Args];

type PlanArgs = AttentionOptions & LayerTensors & { readonly q: Tensor };

/** Which call is planned. */
interface PlannedCall<Args extends PlanArgs> {
  /** The public function, for errors. */
  readonly name: string;
  readonly read: (caller: string, given: Partial<Args>) => Partial<Args>;
  readonly operationOf: (call: Call, args: Args) => AttentionOperation;
}

/** A plan for `attnVarlen`: see `planAttnWithKvCache`. */
export function planAttnVarlen(runtime: Runtime, args: AttnVarlenArgs): AttentionPlan<AttnVarlenArgs> {
  return new AttentionPlan(runtime, args, {
    name: 'planAttnVarlen',
    read: readVarlenArgs,
    operationOf: varlenOperation,
  });
}

/**
 * What a step of a model has in common for all of its layers: lengths, tables, work lists and memory, made once. Each
 * layer is then recorded with its own tensors, at little more than the cost of the bare dispatches; from the second step
 * on nothing is created on the GPU.
 *
 * The arguments are those of `attnWithKvCache`, with the tensors of any layer; a `Batch` or a `Step` may be spread into
 * them. `out` may be left out until `record`. All of them are taken as they are now: arrays that change afterwards, as
 * those of a batch do, and tensors whose offset or buffer is changed, change nothing in the plan.
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
    read: readKvCacheArgs,
    operationOf: kvCacheOperation,
  });
}

/** A tensor that the dispatches of a plan name, to be replaced by a layer's. */
interface Planned {
  readonly name: (typeof LAYER_TENSORS)[number];
  readonly tensor: Tensor;
  readonly strides: readonly number[];
  readonly isContiguous: boolean;
  readonly elementBytes: number;
  /** Where it begins, in elements from what is bound. */
  readonly firstElement: number;
}

/** One step's attention, planned: see `planAttnWithKvCache`. */
export class AttentionPlan<Args extends PlanArgs = PlanArgs> {
  readonly #runtime: Runtime;
  readonly #recording: Recording;
  readonly #call: PlannedCall<Args>;
  readonly #recordName: string;
  /** Copies, so that what the caller changes later changes nothing here. */
  #args: Args;
  #planned: readonly Planned[] = [];
  #checkPlaces: CheckPlaces = () => {};
  #isDestroyed = false;

  /** @internal Use `planAttnVarlen` or `planAttnWithKvCache`. */
  constructor(runtime: Runtime, args: Args, call: PlannedCall<Args>) {
    checkRuntime(call.name, runtime);
    this.#runtime = runtime;
    this.#call = call;
    this.#recordName = `${call.name}.record`;
    const given = call.read(call.name, args);
    this.#args = {} as Args;
    this.#recording = runtime.createRecording();
    this.#plan(call.name, given);
  }

  /**
   * Plan the next step: what is named replaces what was given before, and is cleared if it is undefined. A `Batch` or a
   * `Step` can be passed whole. Submit what was recorded first, since its numbers are overwritten.
   *
   * @throws PageflashError what the call itself would throw, and `argument` if no argument is named; the plan is then as
   * it was
   */
  update(changes: PlanChanges<Args>): void {
    const caller = `${this.#call.name}.update`;
    this.#assertAlive(caller);
    const given = this.#call.read(caller, changes);
    if (Object.keys(given).length === 0) {
      fail(
        'argument',
        caller,
        'the object names no argument, so nothing would change. Pass what is new, such as the lengths of the next step, or a whole batch.',
      );
    }
    this.#plan(caller, given);
  }

  /**
   * Record one layer, with its tensors as they are now. They must have the types, shapes and strides of those that the
   * plan was made with.
   *
   * @throws PageflashError before anything is recorded
   */
  record(tensors: LayerTensors = {}): AttentionResult {
    const caller = this.#recordName;
    this.#assertAlive(caller);
    checkNames(caller, tensors, RECORD_NAMES, { hint: 'Lengths, tables and options are given to update.' });
    checkPass(caller, tensors.pass);
    const layer = this.#layerOf(tensors);
    let key = this.#keyOf(layer);
    if (key === undefined || !this.#recording.has(key)) key = this.#bind(layer);
    this.#runtime.run(caller, this.#recording.bound(key), tensors.pass);
    // The plan's own tensors are not handed out.
    const out = tensors.out ?? viewOf(layer.out!);
    const lse = tensors.lse ?? (layer.lse && viewOf(layer.lse));
    return lse ? { out, lse } : { out };
  }

  /** Free the plan's memory. What was recorded must have been submitted. */
  destroy(): void {
    this.#isDestroyed = true;
    this.#recording.destroy();
  }

  #assertAlive(caller: string): void {
    this.#runtime.assertAlive(caller);
    if (this.#isDestroyed) fail('device', caller, 'the plan was destroyed. Make a new one.');
  }

  #plan(caller: string, given: Partial<Args>): void {
    const changes = withViews(given);
    const args: Args = { ...this.#args, ...changes };
    if (args.pass !== undefined) fail('argument', caller, 'pass belongs to record, not to the plan.');
    const { traits } = this.#runtime;
    const { rules, plan, checkPlaces } = this.#call.operationOf({ name: caller, traits }, args);
    // A placeholder that is never bound: `record` replaces it, or refuses.
    const stand = ({ sizes }: SizeRule, dtype: DType): Tensor => ({
      buffer: args.q.buffer,
      dtype,
      shape: sizes,
    });
    const out = args.out ?? stand(rules.out, rules.dtype);
    const lse = args.lse ?? (args.returnLse ? stand(rules.lse, 'f32') : undefined);
    const dispatches = plan({ out, lse });
    checkDispatches(caller, dispatches, traits);
    this.#runtime.watch(caller, () => this.#recording.update(dispatches));
    const { q, k, v, kCache, vCache } = args;
    this.#args = { ...args, ...withCopies(changes) };
    this.#planned = plannedOf({ q, k, v, kCache, vCache, out, lse });
    this.#checkPlaces = checkPlaces;
  }

  /** Every tensor that the plan has, as the layer has it. */
  #layerOf(tensors: LayerTensors): TensorsOfLayer {
    const caller = this.#recordName;
    const layer: { [Name in Planned['name']]?: Tensor } = {};
    for (const { name } of this.#planned) {
      const tensor = tensors[name] === undefined ? this.#args[name] : tensors[name];
      if (tensor === undefined)
        fail(
          'argument',
          caller,
          `${name} is missing, and the plan was made without one. Pass it to record: a plan makes no tensors.`,
        );
      if (!isTensor(tensor)) {
        fail(
          'argument',
          caller,
          `${name} must be a tensor, { buffer, dtype, shape }, not ${describe(tensor)}.`,
        );
      }
      checkUnmapped(caller, name, tensor);
      layer[name] = tensor;
    }
    for (const name of LAYER_TENSORS) {
      if (tensors[name] === undefined || layer[name]) continue;
      fail(
        'argument',
        caller,
        `the plan was made without ${name}. Make it with ${name}, or leave ${name} out.`,
      );
    }
    return layer;
  }

  /** Names what the layer binds, by value; undefined where the plan was not made for such tensors. */
  #keyOf(layer: TensorsOfLayer): string | undefined {
    let key = '';
    for (const planned of this.#planned) {
      const tensor = layer[planned.name]!;
      if (!isAlike(tensor, planned)) return undefined;
      key += ` ${bufferId(tensor.buffer)}:${tensor.offset ?? 0}`;
    }
    return key;
  }

  /** Checks a layer and makes its bind groups. Lengths and tables were checked when they were planned. */
  #bind(layer: TensorsOfLayer): string {
    const caller = this.#recordName;
    const { traits } = this.#runtime;
    const views = withViews(layer);
    for (const planned of this.#planned) checkAlike({ name: caller, traits }, views[planned.name]!, planned);
    this.#checkPlaces(caller, views);
    const key = this.#keyOf(views)!;
    const replacements = new Map(this.#planned.map(({ name, tensor }) => [tensor, views[name]!]));
    this.#runtime.watch(caller, () => this.#recording.bind(key, replacements));
    return key;
  }
}

function plannedOf(tensors: { readonly [Name in Planned['name']]: Tensor | undefined }): readonly Planned[] {
  return LAYER_TENSORS.flatMap((name) => {
    const tensor = tensors[name];
    if (!tensor) return [];
    const strides = stridesOf(tensor);
    return {
      name,
      tensor,
      strides,
      isContiguous: sameNumbers(strides, contiguousStrides(tensor.shape)),
      elementBytes: bytesPerElement(tensor.dtype),
      firstElement: windowOf(tensor).firstElement,
    };
  });
}

/** Whether a tensor can stand in for the planned one, if it lies in its buffer. */
function isAlike({ buffer, dtype, shape, offset = 0, strides }: Tensor, planned: Planned): boolean {
  const { elementBytes, firstElement } = planned;
  return (
    typeof buffer === 'object' &&
    buffer !== null &&
    dtype === planned.tensor.dtype &&
    Array.isArray(shape) &&
    sameNumbers(shape, planned.tensor.shape) &&
    (strides === undefined
      ? planned.isContiguous
      : Array.isArray(strides) && sameNumbers(strides, planned.strides)) &&
    typeof offset === 'number' &&
    (offset * elementBytes) % WINDOW_ALIGNMENT === firstElement * elementBytes
  );
}

/** Checks that a tensor can stand in for the planned one, and tells why not. */
function checkAlike({ name: caller, traits }: Call, given: Tensor, { name, tensor, strides }: Planned): void {
  const { dtype } = given;
  if (dtype !== tensor.dtype)
    fail(
      'dtype',
      caller,
      `${name} is ${isDType(dtype) ? dtype : describe(dtype)}, but the plan was made for ${tensor.dtype}.`,
    );
  checkTensor(caller, name, given, { dtypes: [tensor.dtype], dims: tensor.shape.map(String) }, traits);
  expectSame(caller, `the shape of ${name} is`, given.shape, tensor.shape);
  expectSame(caller, `the strides of ${name} are`, stridesOf(given), strides);
  // Kernels are told this number, and nothing else of where a tensor lies.
  const [first, plannedFirst] = [windowOf(given).firstElement, windowOf(tensor).firstElement];
  if (first !== plannedFirst) {
    fail(
      'shape',
      caller,
      `${name} begins ${first} elements after a multiple of 256 bytes, but the plan was made for ${plannedFirst}. Place all layers alike.`,
    );
  }
}

function expectSame(caller: string, what: string, got: readonly number[], want: readonly number[]): void {
  if (sameNumbers(got, want)) return;
  fail(
    'shape',
    caller,
    `${what} [${got.join(', ')}], but the plan was made for [${want.join(', ')}]. Pass the tensors of a new step to update; within a step, give all layers the same, or make a plan for each kind.`,
  );
}
