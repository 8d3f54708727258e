import type { Tensor } from '../../core/tensor.js';
import type { AttentionMod, Mods } from '../../problem/attentionProblem.js';
import type { Kernel, KernelMod } from '../../wgsl/kernel.js';
import { modModule, newNames, type ParsedMod } from '../../wgsl/mods.js';
import { partsOf } from '../../wgsl/module.js';
import { kernelOf } from '../../wgsl/reflection.js';
import standIn from './mods.wgsl?module';

/** Where the tensors of mods are bound: first those of scoreMod. */
const TENSOR_BINDINGS = [13, 14] as const;

/** A uniform with the parameters of both. */
const PARAMS_BINDING = 15;

/** The texts of a problem's mods, scoreMod first. */
export function modsOf(mods: Mods | null): readonly ParsedMod[] {
  return mods ? listed(mods).map(({ text }) => text) : [];
}

function listed({ scoreMod, maskMod }: Mods): readonly AttentionMod[] {
  return [scoreMod, maskMod].filter((mod) => mod !== null);
}

/** Kernels by what their mods are called; the same mods are one text, whatever they were given as. */
const kernels = new WeakMap<Kernel, Map<string, Kernel>>();

/**
 * A kernel whose text has mods where it imports `shared/mods`.
 *
 * @param mods those that it is to have, scoreMod first
 */
export function withMods(kernel: Kernel, mods: readonly ParsedMod[]): Kernel {
  if (mods.length === 0) return kernel;
  let byLabel = kernels.get(kernel);
  if (!byLabel) kernels.set(kernel, (byLabel = new Map()));
  const label = mods.map((mod) => `${mod.kind} ${mod.label}`).join(' ');
  let chosen = byLabel.get(label);
  if (!chosen) byLabel.set(label, (chosen = kernelWith(kernel, mods)));
  return chosen;
}

function kernelWith(kernel: Kernel, mods: readonly ParsedMod[]): Kernel {
  const taken = namesIn(kernel);
  let nTensors = 0;
  const placed = mods.map((mod) => ({
    ...mod,
    bindings: Object.fromEntries(
      Object.keys(mod.tensors).map((name) => [name, TENSOR_BINDINGS[nTensors++]!]),
    ),
  }));
  const module = modModule(placed, taken, PARAMS_BINDING);
  const modules = kernel.modules.map((each) => (each === standIn ? module : each));
  const own: readonly KernelMod[] = mods.map((mod) => {
    const { kind, name, label, code } = mod;
    const names = new Map(Array.from(newNames(mod, taken), ([given, becomes]) => [becomes, given]));
    return { kind, name, label, code, names };
  });
  // A copy would read the layouts at once.
  return Object.assign(kernelOf(kernel.name, modules), { mods: own });
}

/** All names that the templates of a kernel have a meaning for: declarations and constants. */
function namesIn({ modules }: Kernel): ReadonlySet<string> {
  const names = new Set<string>();
  for (const module of modules) {
    for (const declared of partsOf(module).declarations.keys()) names.add(declared);
    for (const [, named] of module.matchAll(/\$(\w+)/g)) names.add(named!);
  }
  return names;
}

/** What the mods of a problem bind, by the names in the text of its kernels. */
export function modBuffers(mods: Mods | null): Readonly<Record<string, Tensor | Float32Array>> {
  if (!mods) return {};
  const buffers: Record<string, Tensor | Float32Array> = { mod_params: mods.params };
  for (const { text, tensors } of listed(mods)) {
    const names = newNames(text);
    for (const [name, tensor] of Object.entries(tensors)) buffers[names.get(name)!] = tensor;
  }
  return buffers;
}
