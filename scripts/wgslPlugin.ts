import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Plugin } from 'vite';
import { WgslReflect, type StructInfo } from 'wgsl_reflect/wgsl_reflect.module.js';
import type { Kernel, KernelBinding, ParamsLayout } from '../src/core/dispatch.js';
import { link } from '../src/kernels/link.js';
import { linkModules, moduleOf, readFrom, type LinkedModule } from './wgsl/modules.js';

/**
 * Turns an imported `x.wgsl` into a `Kernel`: templates of its text and of all that it imports, and its bindings and
 * parameters as reflection finds them. A file without an entry point is a module for others to import: a `WgslModule`.
 */
export function wgsl(): Plugin {
  return {
    name: 'wgsl',
    enforce: 'pre',
    load(id) {
      if (!id.endsWith('.wgsl')) return undefined;
      const { folder, name } = moduleOf(id);
      const modules = linkModules(name, readFrom(folder));
      for (const { path } of modules) this.addWatchFile(resolve(path));
      const { directives, declarations } = modules.at(-1)!;
      const own = JSON.stringify({ directives, declarations });
      if (!readFileSync(id, 'utf8').includes('@compute')) return `export default ${own};`;
      const imported = modules.slice(0, -1).map((module) => module.name);
      return [
        ...imported.map((module) => `import ${module} from './${module}.wgsl';`),
        `const own = ${own};`,
        `export default { modules: [${[...imported, 'own'].join(', ')}],`,
        `...${JSON.stringify(reflect(name, modules))} };`,
      ].join('\n');
    },
  };
}

function reflect(name: string, modules: readonly LinkedModule[]): Omit<Kernel, 'modules'> {
  // Structs keep their layouts whatever the variant, so any variant will do: the one with no condition set.
  const spec = Object.fromEntries(modules.flatMap(({ constants }) => constants.map((one) => [one, 4])));
  const reflection = parse(name, link({ name, modules }, spec));
  const params = reflection.uniforms.find((uniform) => uniform.name === 'params');
  return {
    name,
    bindings: bindingsOf(name, modules),
    params: layoutOf(name, params?.type as StructInfo | undefined),
  };
}

const BINDING = /@group\(0\) @binding\((\d+)\) var<(uniform|storage, read_write|storage, read)> (\w+)/g;
const ACCESS = { uniform: 'uniform', 'storage, read': 'read', 'storage, read_write': 'read_write' } as const;

/** What any variant binds: all of them share one layout. A variant alone does not show what others use. */
function bindingsOf(name: string, modules: readonly LinkedModule[]): KernelBinding[] {
  const bindings = new Map<number, KernelBinding>();
  const texts = modules.map(({ path }) => readFileSync(path, 'utf8'));
  for (const [, number, address, variable] of texts.flatMap((text) => [...text.matchAll(BINDING)])) {
    const binding = {
      name: variable!,
      binding: Number(number),
      access: ACCESS[address as keyof typeof ACCESS],
    };
    const known = bindings.get(binding.binding) ?? binding;
    if (known.name !== binding.name || known.access !== binding.access)
      throw new Error(`${name}.wgsl: ${known.name} and ${binding.name} are both binding ${number}.`);
    bindings.set(binding.binding, known);
  }
  return [...bindings.values()].toSorted((a, b) => a.binding - b.binding);
}

function parse(name: string, code: string): WgslReflect {
  try {
    return new WgslReflect(code);
  } catch (error) {
    const { message } = error as Error;
    const line = code.split('\n')[Number(/Line: (\d+)/.exec(message)?.[1]) - 1];
    throw new Error(`${name}.wgsl: ${message}: ${line}`, { cause: error });
  }
}

function layoutOf(name: string, struct: StructInfo | undefined): ParamsLayout {
  if (!struct?.members) throw new Error(`${name}.wgsl: there is no uniform struct called params.`);
  const fields = struct.members.map(({ name: field, offset, type }) => {
    if (!/^[uif]32$/.test(type.name)) throw new Error(`${name}.wgsl: params.${field} is no 32-bit number.`);
    return [field, { offset, type: type.name as 'u32' | 'i32' | 'f32' }] as const;
  });
  return { bytes: struct.size, fields: Object.fromEntries(fields) };
}
