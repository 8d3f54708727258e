import { describe } from '../core/describe.js';
import type { DeviceTraits } from '../core/deviceTraits.js';
import { isDType, type DType } from '../core/dtype.js';
import { fail } from '../core/errors.js';
import { isTensor, stridesOf, type Tensor } from '../core/tensor.js';
import { windowOf } from '../core/tensorWindow.js';
import { checkDispatches } from '../plan/limits.js';
import type { Recording } from '../runtime/recording.js';
import type { Runtime } from '../runtime/runtime.js';
import type { AttentionOptions, AttentionResult } from './attentionArgs.js';
import { varlenOperation, type AttnVarlenArgs } from './attnVarlen.js';
import { kvCacheOperation, type AttnWithKvCacheArgs } from './attnWithKvCache.js';
import type { SizeRule } from './checkNumbers.js';
import { checkNames, checkPass } from './checkOptions.js';
import { checkRuntime } from './checkRuntime.js';
import { checkForm, checkUnmapped } from './checkTensor.js';
import type { Operation } from './outputs.js';

/** The tensors that differ from layer to layer. */
const LAYER_TENSORS = ['q', 'k', 'v', 'kCache', 'vCache', 'out', 'lse'] as const;
type LayerTensor = (typeof LAYER_TENSORS)[number];
const RECORD_NAMES = [...LAYER_TENSORS, 'pass'];

/** Tensors of one layer. Those left out are the ones that the plan was made with. */
export type LayerTensors = Tensors & {
  /** A pass to record into, which the caller ends and submits. Default: the call submits its own work at once. */
  readonly pass?: GPUComputePassEncoder | undefined;
};

type Tensors = { readonly [Name in LayerTensor]?: Tensor | undefined };
type PlanArgs = AttentionOptions & Tensors & { readonly q: Tensor };
type OperationOf<Args> = (traits: DeviceTraits, args: Args) => Operation;

/** A plan for `attnVarlen`: see `planAttnWithKvCache`. */
export function planAttnVarlen(runtime: Runtime, args: AttnVarlenArgs): AttentionPlan<AttnVarlenArgs> {
  return new AttentionPlan(runtime, args, 'planAttnVarlen', varlenOperation);
}

/**
 * What a step of a model has in common for all of its layers: lengths, tables, work lists and memory, made once. Each
 * layer is then recorded with its own tensors, at little more than the cost of the bare dispatches; from the second step
 * on nothing is created on the GPU.
 *
 * The arguments are those of `attnWithKvCache`, with the tensors of any layer. `out` may be left out until `record`.
 *
 * @throws PageflashError what `attnWithKvCache` throws
 * @example
 * const plan = planAttnWithKvCache(runtime, { q, k, v, ...cache.layer(0), cacheSeqlens, blockTable, causal: true });
 * for (;;) {
 *   for (let layer = 0; layer < nLayers; layer++) plan.record({ q, k, v, ...cache.layer(layer), out, pass });
 *   // … submit, sample, reserve pages …
 *   plan.update({ cacheSeqlens, blockTable });
 * }
 */
export function planAttnWithKvCache(
  runtime: Runtime,
  args: AttnWithKvCacheArgs,
): AttentionPlan<AttnWithKvCacheArgs> {
  return new AttentionPlan(runtime, args, 'planAttnWithKvCache', kvCacheOperation);
}

/** One step's attention, planned: see `planAttnWithKvCache`. */
export class AttentionPlan<Args extends PlanArgs = PlanArgs> {
  readonly #runtime: Runtime;
  readonly #recording: Recording;
  readonly #caller: string;
  readonly #recordName: string;
  readonly #operationOf: OperationOf<Args>;
  #args: Args;
  /** The tensors that the dispatches name, to be replaced by those of a layer. */
  #planned: Tensors = {};
  readonly #ids = new WeakMap<Tensor, number>();
  #nextId = 1;
  #isDestroyed = false;

  /** @internal Use `planAttnVarlen` or `planAttnWithKvCache`. */
  constructor(runtime: Runtime, args: Args, caller: string, operationOf: OperationOf<Args>) {
    checkRuntime(caller, runtime);
    checkArgs(caller, args);
    this.#runtime = runtime;
    this.#caller = caller;
    this.#recordName = `${caller}.record`;
    this.#operationOf = operationOf;
    this.#args = args;
    this.#recording = runtime.createRecording();
    this.update({});
  }

  /**
   * Plan the next step: what is given replaces what was given before. Submit what was recorded first, since its numbers
   * are overwritten.
   *
   * @throws PageflashError what the call itself would throw; the plan is then as it was
   */
  update(changes: Partial<Args>): void {
    this.#assertAlive(`${this.#caller}.update`);
    checkArgs(`${this.#caller}.update`, changes);
    const args: Args = apart({ ...this.#args, ...changes });
    if (args.pass !== undefined) fail('argument', this.#caller, 'pass belongs to record, not to the plan.');
    const { rules, plan } = this.#operationOf(this.#runtime.traits, args);
    // A tensor that nobody binds: `record` replaces it, or refuses.
    const stand = ({ sizes }: SizeRule, dtype: DType): Tensor => ({
      buffer: args.q.buffer,
      dtype,
      shape: sizes,
    });
    const out = args.out ?? stand(rules.out, rules.dtype);
    const lse = args.lse ?? (args.returnLse ? stand(rules.lse, 'f32') : undefined);
    const dispatches = plan({ out, lse });
    checkDispatches(this.#caller, dispatches, this.#runtime.traits);
    this.#runtime.watch(`${this.#caller}.update`, () => this.#recording.update(dispatches));
    this.#args = args;
    const { q, k, v, kCache, vCache } = args;
    this.#planned = { q, k, v, kCache, vCache, out, lse };
  }

  /**
   * Record one layer. Its tensors must have the types, shapes and strides of those that the plan was made with.
   *
   * @throws PageflashError before anything is recorded
   */
  record(tensors: LayerTensors = {}): AttentionResult {
    this.#assertAlive(this.#recordName);
    checkNames(this.#recordName, tensors, RECORD_NAMES);
    checkPass(this.#recordName, tensors.pass);
    const layer = this.#layerOf(tensors);
    const name = this.#nameOf(layer);
    if (!this.#recording.has(name)) {
      this.#check(layer);
      const replacements = this.#replacements(layer);
      this.#runtime.watch(this.#recordName, () => this.#recording.bind(name, replacements));
    }
    this.#runtime.run(this.#recordName, this.#recording.steps(name), tensors.pass);
    const { out, lse } = layer as { readonly out: Tensor; readonly lse?: Tensor };
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

  /** Every tensor that the plan has, as the layer has it. */
  #layerOf(tensors: LayerTensors): Tensors {
    const layer: { [Name in LayerTensor]?: Tensor } = {};
    for (const name of LAYER_TENSORS) {
      const given = tensors[name];
      if (!this.#planned[name]) {
        if (given !== undefined)
          fail(
            'argument',
            this.#recordName,
            `the plan was made without ${name}. Make it with ${name}, or leave ${name} out.`,
          );
        continue;
      }
      const tensor = given === undefined ? this.#args[name] : given;
      if (tensor === undefined)
        fail('argument', this.#recordName, `${name} is missing, and the plan was made without one.`);
      if (!isTensor(tensor)) {
        fail(
          'argument',
          this.#recordName,
          `${name} must be a tensor, { buffer, dtype, shape }, not ${describe(tensor)}.`,
        );
      }
      checkUnmapped(this.#recordName, name, tensor);
      layer[name] = tensor;
    }
    return layer;
  }

  /** Tells tensors from others by their identity. */
  #nameOf(layer: Tensors): string {
    let name = '';
    for (const tensor of Object.values(layer) as Tensor[]) {
      let id = this.#ids.get(tensor);
      if (id === undefined) {
        id = this.#nextId++;
        this.#ids.set(tensor, id);
      }
      name += ` ${id}`;
    }
    return name;
  }

  #check(layer: Tensors): void {
    for (const name of LAYER_TENSORS) {
      const planned = this.#planned[name];
      if (planned) checkAlike(this.#recordName, name, layer[name]!, planned);
    }
    this.#operationOf(this.#runtime.traits, { ...this.#args, ...layer });
  }

  #replacements(layer: Tensors): Map<Tensor, Tensor> {
    const replacements = new Map<Tensor, Tensor>();
    for (const name of LAYER_TENSORS) {
      const planned = this.#planned[name];
      if (planned) replacements.set(planned, layer[name]!);
    }
    return replacements;
  }
}

/** Checks what is to be spread into the arguments of a plan. */
function checkArgs(caller: string, args: object): void {
  if (typeof args !== 'object' || args === null)
    fail('argument', caller, `the arguments must be one object, not ${describe(args)}.`);
}

/**
 * The arguments with a tensor of its own for each name. A layer may have two tensors where the plan was given one twice,
 * as for keys that are values as well.
 */
function apart<Args extends PlanArgs>(args: Args): Args {
  const seen = new Set<unknown>();
  const copies: { [Name in LayerTensor]?: Tensor } = {};
  for (const name of LAYER_TENSORS) {
    const tensor = args[name];
    if (isTensor(tensor) && seen.has(tensor)) copies[name] = copyOf(tensor);
    seen.add(tensor);
  }
  return { ...args, ...copies };
}

function copyOf({ buffer, dtype, shape, offset, strides }: Tensor): Tensor {
  return {
    buffer,
    dtype,
    shape,
    ...(offset !== undefined && { offset }),
    ...(strides !== undefined && { strides }),
  };
}

/** Checks that a tensor can stand in for the one that was planned with. */
function checkAlike(caller: string, name: string, given: Tensor, planned: Tensor): void {
  const { dtype } = given;
  if (dtype !== planned.dtype)
    fail(
      'dtype',
      caller,
      `${name} is ${isDType(dtype) ? dtype : describe(dtype)}, but the plan was made for ${planned.dtype}.`,
    );
  const dims = planned.shape.map(String);
  checkForm(caller, name, given, { dtypes: [planned.dtype], dims });
  expectSame(caller, `the shape of ${name} is`, given.shape, planned.shape);
  expectSame(caller, `the strides of ${name} are`, stridesOf(given), stridesOf(planned));
  // Kernels are told this number, and nothing else of where a tensor lies.
  const [first, plannedFirst] = [windowOf(given).firstElement, windowOf(planned).firstElement];
  if (first !== plannedFirst) {
    fail(
      'shape',
      caller,
      `${name} begins ${first} elements after a multiple of 256 bytes, but the plan was made for ${plannedFirst}. Place all layers alike.`,
    );
  }
}

function expectSame(caller: string, what: string, got: readonly number[], want: readonly number[]): void {
  if (String(got) === String(want)) return;
  fail(
    'shape',
    caller,
    `${what} [${got.join(', ')}], but the plan was made for [${want.join(', ')}]. Give all layers the same, or make a plan for each kind.`,
  );
}
