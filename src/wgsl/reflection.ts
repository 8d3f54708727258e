import type { FieldLayout, Kernel, KernelBinding, Spec, StructLayout, WgslModule } from './kernel.js';
import { declarationOf } from './module.js';

// Layouts are read from the kernels' own text when they are first asked for, and kept, so nothing of them is written
// twice. The build compares structs and bindings with what a WGSL parser says.

/** A kernel, given its own file, last, and all that it imports. */
export function kernelOf(name: string, modules: readonly WgslModule[]): Kernel {
  let bindings: readonly KernelBinding[] | undefined;
  let params: StructLayout | undefined;
  return {
    name,
    modules,
    get bindings() {
      return (bindings ??= bindingsOf(name, modules));
    },
    get params() {
      return (params ??= structOf({ modules }, 'Params'));
    },
  };
}

/** The same kernel with a layout of its own, for variants that bind no more than some of its buffers. */
export function withBindings(kernel: Kernel, isBound: (name: string, binding: number) => boolean): Kernel {
  const { name, modules, mods } = kernel;
  let bindings: readonly KernelBinding[] | undefined;
  return {
    name,
    modules,
    ...(mods && { mods }),
    get bindings() {
      return (bindings ??= kernel.bindings.filter(({ name: bound, binding }) => isBound(bound, binding)));
    },
    get params() {
      return kernel.params;
    },
  };
}

/** Where WGSL may be declared: in a kernel, or in files. */
type Text = Pick<Kernel, 'modules'>;

const BINDING = /@binding\((\d+)\) var<(uniform|storage, read(?:_write)?)> (\w+)/g;

/** Those that the entry point reaches in any variant. */
function bindingsOf(entryPoint: string, modules: readonly WgslModule[]): readonly KernelBinding[] {
  const bindings = new Map<number, KernelBinding>();
  const reached = new Set([entryPoint]);
  for (const declaration of reached) {
    const text = declarationOf(modules, declaration);
    for (const [, named] of text.matchAll(/\$(\w+)/g)) reached.add(named!);
    for (const [, binding, space, name] of text.matchAll(BINDING))
      bindings.set(Number(binding), {
        name: name!,
        binding: Number(binding),
        access: space!.replace('storage, ', '') as KernelBinding['access'],
      });
  }
  return [...bindings.values()].toSorted((a, b) => a.binding - b.binding);
}

/**
 * The layout of a struct, whose fields are 32-bit numbers.
 *
 * @throws RangeError if it is not declared
 */
export function structOf(kernel: Text, name: string): StructLayout {
  return readOnce(kernel, name, (text) => {
    const fields: Record<string, FieldLayout> = {};
    let bytes = 0;
    for (const [, field, type] of text.matchAll(/(\w+): ([uif]32)/g)) {
      fields[field!] = { offset: bytes, type: type as FieldLayout['type'] };
      bytes += 4;
    }
    return { bytes, fields };
  });
}

/**
 * An integer that is the same in every variant.
 *
 * @throws RangeError if it is not declared
 */
export function constantOf(kernel: Text, name: string): number {
  return readOnce(kernel, name, (text) => Number(/= (\d+)u/.exec(text)![1]));
}

/** Invocations of a workgroup. */
export function workgroupSizeOf({ kernel, spec }: { readonly kernel: Text; readonly spec: Spec }): number {
  return Number(spec['WG_SIZE'] ?? constantOf(kernel, 'WG_SIZE'));
}

/** What was read of declarations, by the last file of the kernel and by name: every call asks for some of it. */
const known = new Map<WgslModule, Map<string, unknown>>();

function readOnce<T>({ modules }: Text, name: string, read: (text: string) => T): T {
  const own = modules.at(-1)!;
  let ofFile = known.get(own);
  if (!ofFile) known.set(own, (ofFile = new Map()));
  let value = ofFile.get(name) as T | undefined;
  if (value === undefined) {
    const text = declarationOf(modules, name);
    if (!text) throw new RangeError(`There is no ${name} in the WGSL.`);
    ofFile.set(name, (value = read(text)));
  }
  return value;
}
