import {
  MemoryTracker,
  ScalarData,
  TrackedTypedData,
  TypedData,
  Var,
  VectorData,
  WgslDebug,
  WgslExec,
} from 'wgsl_reflect/wgsl_reflect.module.js';
import type { Dispatch, Scratch } from '../../src/core/dispatch.js';
import { decode, encode, type FloatDType } from '../../src/core/dtype.js';
import { elementCount, type Tensor } from '../../src/core/tensor.js';
import type { Kernel, Spec } from '../../src/wgsl/kernel.js';
import { link } from '../../src/wgsl/link.js';
import { packParams } from '../../src/runtime/uploads.js';

// wgsl_reflect has a detector of races of its own, but it lets invocations take turns after each statement while there is
// one place for what a function returned to all of them, and it only looks at the first workgroup.

interface VectorNode {
  readonly type: { getTypeName(): string };
  readonly args: readonly unknown[] | null;
  readonly postfix: unknown;
}

// What wgsl_reflect keeps to itself.
const CONSTRUCT = '_callConstructorVec';

interface Constructors {
  [CONSTRUCT](node: VectorNode, context: unknown): unknown;
  evalExpression(node: unknown, context: unknown): unknown;
  getTypeInfo(type: unknown): NonNullable<ReturnType<WgslExec['getTypeInfo']>>;
}

// It keeps the numbers of every vector that is constructed as f32, of which u32 has too many.
const constructors = WgslExec.prototype as unknown as Constructors;
const constructVector = constructors[CONSTRUCT];
constructors[CONSTRUCT] = function (this: Constructors, node, context) {
  const [, size] = /^vec(\d)u$/.exec(node.type.getTypeName()) ?? [];
  if (!size) return constructVector.call(this, node, context);
  const parts = (node.args ?? []).flatMap((arg) => {
    const value = this.evalExpression(arg, context);
    return value instanceof VectorData ? [...value.data] : [(value as ScalarData).value];
  });
  const words = Uint32Array.from({ length: Number(size) }, (_, i) => parts[parts.length > 1 ? i : 0] ?? 0);
  const vector = new VectorData(words, this.getTypeInfo(node.type));
  return vector.getSubData(this as never, node.postfix as never, context as never);
};

/**
 * Runs a dispatch on the CPU, one workgroup after another and of each every invocation to its next barrier. Barriers
 * order accesses to workgroup memory; nothing orders those to storage.
 *
 * @param edit changes the WGSL first
 * @returns a sentence for every word that invocations race for
 * @throws RangeError where memory is accessed that is not there
 */
export function interpret(
  dispatch: Dispatch,
  buffers: HostBuffers,
  edit = (code: string) => code,
): readonly string[] {
  const { kernel, spec, grid } = dispatch;
  const debug = new WgslDebug(interpretable(edit(link(kernel, spec))));
  const { exec } = debug;
  exec.execute();
  const { context } = exec;
  const [vec3u, u32] = [exec.getTypeInfo('vec3u')!, exec.getTypeInfo('u32')!];
  const main = context.getFunction(kernel.name)!.node;
  const nInvocations = (context.getVariableValue('WG_SIZE') as ScalarData).value;

  const storage = new Accesses();
  bind(dispatch, buffers, debug, storage);
  const shared = workgroupVariables(exec);
  const races = new Set<string>();
  for (let workgroup = 0; workgroup < grid[0] * grid[1]; workgroup++) {
    const inputs: Readonly<Record<string, VectorData | ScalarData>> = {
      workgroup_id: new VectorData([workgroup % grid[0], Math.floor(workgroup / grid[0]), 0], vec3u),
      num_workgroups: new VectorData([...grid], vec3u),
    };
    const phase = new Accesses();
    for (const variable of shared) {
      const { typeInfo } = variable.value;
      variable.value = new TrackedTypedData(new ArrayBuffer(typeInfo.size), typeInfo, phase, variable.name);
    }
    const stacks = Array.from({ length: nInvocations }, (_, index) => {
      const own = context.clone();
      for (const { name, attributes } of main.args) {
        const builtin = String(attributes?.find((attribute) => attribute.name === 'builtin')?.value);
        own.createVariable(name, inputs[builtin] ?? new ScalarData(index, u32));
      }
      return stackOf(debug.createStackFrame(main.body, own));
    });
    for (let barrier: object | null | undefined; barrier !== null;) {
      const stops = stacks.map((stack, index) => {
        storage.currentInvocation = workgroup * nInvocations + index;
        phase.currentInvocation = index;
        return runToBarrier(debug, stack);
      });
      barrier = stops[0]!;
      if (stops.some((stop) => stop !== barrier)) throw new Error('Not all invocations reach a barrier.');
      for (const race of phase.takeRaces()) races.add(race);
    }
  }
  return [...races, ...storage.takeRaces()];
}

/** Workgroup memory that a variant declares, as WebGPU counts it: each variable by whole 16 bytes. */
export function declaredWorkgroupBytes(kernel: Kernel, spec: Spec): number {
  const { exec } = new WgslDebug(interpretable(link(kernel, spec)));
  exec.execute();
  let bytes = 0;
  for (const { value } of workgroupVariables(exec)) bytes += Math.ceil(value.typeInfo.size / 16) * 16;
  return bytes;
}

function workgroupVariables({ context }: WgslExec) {
  return [...context.variables.values()].filter(
    ({ node }) => node instanceof Var && node.storage === 'workgroup',
  );
}

type Stack = Parameters<WgslDebug['stepStack']>[0];

function stackOf(frame: ReturnType<WgslDebug['createStackFrame']>): Stack {
  const states = [frame];
  return {
    states,
    get isEmpty() {
      return states.length === 0;
    },
    get last() {
      return states.at(-1) ?? null;
    },
    pop: () => void states.pop(),
  };
}

/** The barrier that an invocation comes to next, null where it ends. It stands behind the barrier then. */
function runToBarrier(debug: WgslDebug, stack: Stack): object | null {
  for (;;) {
    while (stack.last?.isAtEnd) stack.pop();
    const command = stack.last?.getCurrentCommand();
    if (!command) return null;
    debug.stepStack(stack);
    const node = 'node' in command ? (command.node as { readonly name?: string }) : {};
    if (node.name === 'workgroupBarrier') return node;
  }
}

/** Gives the module's variables what the dispatch binds. */
function bind(
  { kernel, params, bindings }: Dispatch,
  buffers: HostBuffers,
  { exec }: WgslDebug,
  storage: Accesses,
): void {
  for (const { name, access } of kernel.bindings) {
    const variable = exec.context.getVariable(name);
    if (!variable) continue;
    const type = exec.getTypeInfo((variable.node as Var).type!)!;
    if (access === 'uniform') {
      variable.value = new TypedData(packParams(kernel.params, params), type);
      continue;
    }
    const bound = bindings[name];
    const contents = !bound
      ? new ArrayBuffer(16)
      : ArrayBuffer.isView(bound)
        ? (bound.slice().buffer as ArrayBuffer)
        : buffers.contentsOf(bound);
    variable.value = new TrackedTypedData(contents, type, storage, name);
  }
}

/** The WGSL in words in which the interpreter does not err. */
function interpretable(code: string): string {
  const constant = /^const \w+ = \w+u;$/gm;
  const text = code
    .replace(constant, '')
    // It reports what it does not execute.
    .replace(/^enable \w+;$/gm, '')
    // It runs into the first statement of a block without a stop, even if it is a barrier.
    .replace(/\{\s*workgroupBarrier\(\);/g, '{ let begun = true; workgroupBarrier();')
    // It keeps the sign when it shifts to the right.
    .replace(/>> (\w+|\([^()]*\))/g, '/ (1u << $1)');
  // It evaluates constants in the order of the text, which WGSL leaves open.
  return [...(code.match(constant) ?? []), text].join('\n');
}

type Access = 'read' | 'write' | 'atomic';

const CONFLICTS: Readonly<Record<Access, readonly Access[]>> = {
  read: ['write', 'atomic'],
  write: ['read', 'write', 'atomic'],
  atomic: ['read', 'write'],
};

/** Stands for more than one invocation. */
const SEVERAL = -1;

/** Which invocations have accessed which words. */
export class Accesses extends MemoryTracker {
  /** By memory, word and kind of access. */
  readonly #invocations = new Map<string, Partial<Record<Access, number>>[]>();
  readonly #races = new Set<string>();

  override record(
    memory: string,
    offset: number,
    size: number,
    kind: 'read' | 'write',
    atomic: boolean,
  ): void {
    const access = atomic ? 'atomic' : kind;
    const invocation = this.currentInvocation;
    let words = this.#invocations.get(memory);
    if (!words) this.#invocations.set(memory, (words = []));
    for (let word = Math.floor(offset / 4); word < (offset + size) / 4; word++) {
      const users = (words[word] ??= {});
      for (const other of CONFLICTS[access]) {
        if ((users[other] ?? invocation) === invocation) continue;
        this.#races.add(`${memory} word ${word}: ${access} beside ${other}`);
      }
      users[access] = (users[access] ?? invocation) === invocation ? invocation : SEVERAL;
    }
  }

  /** What was found since the last barrier, and starts anew. */
  takeRaces(): string[] {
    const races = [...this.#races];
    this.#races.clear();
    this.#invocations.clear();
    return races;
  }
}

/** What GPU buffers hold, where there is no GPU: zeros at first. Tensors begin at the start of theirs, contiguous. */
export class HostBuffers {
  readonly #contents = new Map<GPUBuffer | string, ArrayBuffer>();

  contentsOf(bound: Tensor | Scratch): ArrayBuffer {
    const isScratch = 'scratch' in bound;
    const name = isScratch ? bound.scratch : bound.buffer;
    let contents = this.#contents.get(name);
    if (!contents) {
      contents = new ArrayBuffer(isScratch ? bound.bytes : bound.buffer.size);
      this.#contents.set(name, contents);
    }
    return contents;
  }

  write(tensor: Tensor, numbers: ArrayLike<number>): void {
    const { buffer } = encode(tensor.dtype as FloatDType, numbers);
    new Uint8Array(this.contentsOf(tensor)).set(new Uint8Array(buffer));
  }

  read(tensor: Tensor): Float32Array {
    const Stored = tensor.dtype === 'f32' ? Float32Array : Uint16Array;
    const stored = new Stored(this.contentsOf(tensor), 0, elementCount(tensor.shape));
    return decode(tensor.dtype as FloatDType, stored);
  }
}
