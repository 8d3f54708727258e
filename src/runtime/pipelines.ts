import type { Kernel, KernelBinding, KernelMod, Spec } from '../wgsl/kernel.js';
import { fail, PageflashError } from '../core/errors.js';
import type { SelfTest } from '../core/knownAnswer.js';
import { link, variantName } from '../wgsl/link.js';
import { inOwnNames, linesOf, modLineOf } from '../wgsl/mods.js';
import { closeScope, type Faults } from './faults.js';

/** `GPUShaderStage.COMPUTE`, which Node lacks as a global. */
const COMPUTE_STAGE = 0x4;

/** One variant of a kernel to compile. */
export interface Variant {
  readonly kernel: Kernel;
  readonly spec: Spec;
  /** Whether it is needed depends on whether subgroup matrices are used. Default: it is needed in any case. */
  readonly when?: MatrixCondition;
}

/** That subgroup matrices are used, or that they are not, as a self-test decides. */
export interface MatrixCondition {
  readonly matrices: boolean;
  readonly test: SelfTest;
}

/** A module that is compiled. */
interface Compiled {
  readonly kernel: Kernel;
  readonly code: string;
  readonly module: GPUShaderModule;
}

const BUFFER_TYPES: Readonly<Record<KernelBinding['access'], GPUBufferBindingType>> = {
  uniform: 'uniform',
  read: 'read-only-storage',
  read_write: 'storage',
};

/**
 * Compiles each variant of a kernel once, and keeps the pipelines. All variants of a kernel share one bind group layout; a
 * kernel whose variants need several is as many objects of one name.
 */
export class Pipelines {
  readonly #device: GPUDevice;
  readonly #faults: Faults;
  readonly #layouts = new Map<Kernel, GPUBindGroupLayout>();
  readonly #names = new Map<string, string>();
  readonly #ready = new Map<string, GPUComputePipeline>();
  readonly #pending = new Map<string, Promise<void>>();
  readonly #refused = new Map<string, PageflashError>();
  /** By kind and label, the mods that the compiler is known to accept, in whatever kernel. */
  readonly #accepted = new Set<string>();
  /** Refusals for which a mod is to blame. */
  readonly #ofMods = new WeakMap<PageflashError, KernelMod>();
  /** By kind and name of a mod, its label. */
  readonly #modLabels = new Map<string, string>();
  readonly #onRefusal: (refusal: PageflashError, code: string) => void;

  /** @param onRefusal is called for a variant that was not prepared, when the compiler refuses it */
  constructor(
    device: GPUDevice,
    faults: Faults,
    onRefusal: (refusal: PageflashError, code: string) => void = () => {},
  ) {
    this.#device = device;
    this.#faults = faults;
    this.#onRefusal = onRefusal;
  }

  /**
   * Returns the pipeline of a variant. One that was not prepared is compiled now, which may block for a while.
   *
   * @throws PageflashError `compile` if the compiler has refused the variant before
   */
  get({ kernel, spec }: Variant): GPUComputePipeline {
    const name = this.#nameOf(kernel, spec);
    const ready = this.#ready.get(name);
    if (ready) return ready;
    this.#throwIfRefused([name]);
    const { module, descriptor, code } = this.#describe(name, kernel, spec);
    const pipeline = this.#device.createComputePipeline(descriptor);
    this.#ready.set(name, pipeline);
    // WebGPU reports a refusal later; from then on the variant throws.
    const refusal = this.#report(name, { kernel, code, module });
    this.#faults.expect(refusal);
    void refusal.then((found) => {
      if (!found) return this.#accept(kernel);
      this.#ready.delete(name);
      this.#refuse(name, found);
      if (!this.#ofMods.has(found)) this.#onRefusal(found, code);
    });
    return pipeline;
  }

  /**
   * Compiles variants in the background, all at once. Linking and handing over a variant blocks the thread, in Node
   * parsing does too, so each variant gets a turn of the event loop of its own.
   *
   * @param proceed throws to stop before the next one
   * @param onReady is called for each that is compiled, or was already; not for one that is refused
   * @throws PageflashError `compile` with what the compiler said
   */
  async prepare(
    variants: readonly Variant[],
    proceed: () => void,
    onReady: (variant: Variant, total: number) => void,
  ): Promise<void> {
    const byName = new Map(variants.map((variant) => [variantName(variant.kernel, variant.spec), variant]));
    const compiled: Promise<void>[] = [];
    for (const [name, variant] of byName) {
      if (!this.#ready.has(name)) await nextTurn();
      proceed();
      const ready = this.#prepareOne(name, variant).then(() => {
        if (this.#ready.has(name)) onReady(variant, byName.size);
      });
      // All of them are awaited below; a failure before that is no unhandled rejection.
      ready.catch(() => {});
      compiled.push(ready);
    }
    await Promise.all(compiled);
    this.#throwIfRefused(byName.keys());
  }

  /** What the compiler has said of a variant that it has refused, unless a mod is to blame. */
  refusalOf({ kernel, spec }: Variant): PageflashError | undefined {
    const refusal = this.#refused.get(this.#nameOf(kernel, spec));
    return refusal && this.#ofMods.has(refusal) ? undefined : refusal;
  }

  /** By kind and name of a mod, the label of its text. */
  get modLabels(): ReadonlyMap<string, string> {
    return this.#modLabels;
  }

  /**
   * Checks that the compiler has accepted the mods of a variant, if it has any, in this kernel or another one.
   *
   * @throws PageflashError `compile` if it has refused the variant; `argument` if it has not been asked about one of the mods
   */
  assertAccepted(caller: string, { kernel, spec }: Variant): void {
    if (!kernel.mods) return;
    this.#throwIfRefused([this.#nameOf(kernel, spec)]);
    if (kernel.mods.every(({ kind, label }) => this.#accepted.has(`${kind} ${label}`))) return;
    const mods = kernel.mods.map((mod) => `${mod.kind} "${mod.name}"`).join(' and ');
    fail(
      'argument',
      caller,
      `${mods} must be prepared before a call records into a pass, since what the compiler says of it would come too late. Await runtime.prepare(attnVariants(runtime, { …, ${kernel.mods.map(({ kind }) => kind).join(', ')} })) or prepareModel first, or leave pass out.`,
    );
  }

  #accept({ mods = [] }: Kernel): void {
    for (const { kind, label } of mods) this.#accepted.add(`${kind} ${label}`);
  }

  #refuse(name: string, refusal: PageflashError): void {
    this.#refused.set(name, refusal);
    const mod = this.#ofMods.get(refusal);
    // Its name is free for a code that is right.
    if (mod) this.#modLabels.delete(`${mod.kind} ${mod.name}`);
  }

  /**
   * Notes the mods of a kernel that is to be compiled.
   *
   * @throws PageflashError `argument` if one of their names stands for another code
   */
  #note({ mods = [] }: Kernel): void {
    for (const { kind, name, label } of mods) {
      const known = this.#modLabels.get(`${kind} ${name}`);
      if (known !== undefined && known !== label)
        throw new PageflashError('argument', `${kind} "${name}" has two codes. Give each a name of its own.`);
    }
    for (const { kind, name, label } of mods) this.#modLabels.set(`${kind} ${name}`, label);
  }

  bindGroupLayout(kernel: Kernel): GPUBindGroupLayout {
    let layout = this.#layouts.get(kernel);
    if (!layout) {
      layout = this.#device.createBindGroupLayout({
        label: kernel.name,
        entries: kernel.bindings.map(({ binding, access }) => ({
          binding,
          visibility: COMPUTE_STAGE,
          buffer: { type: BUFFER_TYPES[access] },
        })),
      });
      this.#layouts.set(kernel, layout);
    }
    return layout;
  }

  /** Returns the variant's name, from a key that takes less time to write than the name. */
  #nameOf(kernel: Kernel, spec: Spec): string {
    let key = kernel.name;
    if (kernel.mods) for (const { kind, label } of kernel.mods) key += ` ${kind} ${label}`;
    for (const part in spec) key += ` ${part} ${String(spec[part])}`;
    let name = this.#names.get(key);
    if (name === undefined) this.#names.set(key, (name = variantName(kernel, spec)));
    return name;
  }

  #prepareOne(name: string, { kernel, spec }: Variant): Promise<void> {
    if (this.#ready.has(name) || this.#refused.has(name)) return Promise.resolve();
    let pending = this.#pending.get(name);
    if (!pending) {
      pending = this.#compile(name, kernel, spec).finally(() => this.#pending.delete(name));
      this.#pending.set(name, pending);
    }
    return pending;
  }

  async #compile(name: string, kernel: Kernel, spec: Spec): Promise<void> {
    // The error is thrown below, so it must not reach the device's own error event too.
    this.#device.pushErrorScope('validation');
    const { module, descriptor, code } = this.#describe(name, kernel, spec);
    void closeScope(this.#device);
    try {
      this.#ready.set(name, await this.#device.createComputePipelineAsync(descriptor));
      this.#accept(kernel);
    } catch (error) {
      const found = await this.#report(name, { kernel, code, module });
      this.#refuse(name, found ?? unexplained(name, error as Error));
    }
  }

  #describe(name: string, kernel: Kernel, spec: Spec) {
    this.#note(kernel);
    const code = link(kernel, spec);
    const module = this.#device.createShaderModule({ label: name, code });
    const descriptor: GPUComputePipelineDescriptor = {
      label: name,
      layout: this.#device.createPipelineLayout({
        label: kernel.name,
        bindGroupLayouts: [this.bindGroupLayout(kernel)],
      }),
      compute: { module, entryPoint: kernel.name },
    };
    return { module, descriptor, code };
  }

  /** What the compiler says against a module, with the lines of its code, or of a mod's; undefined if it has nothing to say. */
  async #report(name: string, { kernel, code, module }: Compiled): Promise<PageflashError | undefined> {
    const errors = await errorsOf(this.#device, module);
    if (errors.length === 0) return undefined;
    const lines = code.split('\n');
    for (const error of errors) {
      const place = modLineOf(kernel, lines, error.lineNum);
      if (!place) continue;
      const { mod, line } = place;
      const report = lineReport(line, inOwnNames(error.message, mod), linesOf(mod.code)[line - 1]!.trim());
      const message = `The compiler refused ${mod.kind} "${mod.name}".\n  ${report}`;
      const refusal = new PageflashError('compile', message);
      this.#ofMods.set(refusal, mod);
      return refusal;
    }
    const report = errors.map(({ lineNum, message }) =>
      lineReport(lineNum, message, lines[lineNum - 1]?.trim()),
    );
    return new PageflashError('compile', `The compiler refused ${name}.\n  ${report.join('\n  ')}`);
  }

  #throwIfRefused(names: Iterable<string>): void {
    for (const name of names) {
      const refusal = this.#refused.get(name);
      if (refusal) throw refusal;
    }
  }
}

/** The errors of a compiler about a module, if it has any. */
async function errorsOf(
  device: GPUDevice,
  module: GPUShaderModule,
): Promise<readonly GPUCompilationMessage[]> {
  const info = module.getCompilationInfo();
  // Chrome may never answer where the device has nothing else to do.
  device.queue.onSubmittedWorkDone().catch(() => {});
  const { messages } = await info;
  return messages.filter(({ type }) => type === 'error');
}

/** What a compiler says of a line. */
function lineReport(lineNumber: number, message: string, line: string | undefined): string {
  return line ? `line ${lineNumber}: ${message}\n    ${line}` : message;
}

function unexplained(name: string, { message }: Error): PageflashError {
  return new PageflashError('compile', `The device refused the pipeline of ${name}: ${message}`);
}

/**
 * Resolves in a later turn of the event loop, so that input, frames and timers are served first. It uses a message rather
 * than a timer where there are messages, since a page in the background gets one timer per second.
 */
export function nextTurn(): Promise<void> {
  if (typeof MessageChannel === 'undefined') return new Promise((resolve) => setTimeout(resolve, 0));
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    const arrive = (): void => {
      // In Node, an open port keeps the process running.
      port1.close();
      resolve();
    };
    port1.addEventListener('message', arrive, { once: true });
    port1.start();
    port2.postMessage(undefined);
  });
}
