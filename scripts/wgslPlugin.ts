import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { Plugin } from 'vite';
import { WgslReflect, type StructInfo } from 'wgsl_reflect/wgsl_reflect.module.js';
import type { Kernel, KernelBinding, ParamsLayout } from '../src/core/dispatch.js';
import { link } from '../src/kernels/link.js';

/**
 * Turns an imported `x.wgsl` into a `Kernel`: its sources, and its bindings and struct layouts as reflection finds them.
 * A file without an entry point is a module for others to import and has sources only.
 */
export function wgsl(): Plugin {
  return {
    name: 'wgsl',
    enforce: 'pre',
    load(id) {
      if (!id.endsWith('.wgsl')) return undefined;
      const source = withoutComments(readFileSync(id, 'utf8'));
      const imported = importedModules(source);
      const file = `./${basename(id)}`;
      return [
        ...imported.map((name) => `import ${name} from './${name}.wgsl';`),
        `const modules = { ${imported.map((name) => `...${name}.modules, `).join('')}`,
        `  ${JSON.stringify(file)}: ${JSON.stringify(source)} };`,
        `export default { modules, ...${JSON.stringify(reflect(id, source))} };`,
      ].join('\n');
    },
  };
}

function withoutComments(source: string): string {
  return source
    .replace(/[ \t]*\/\/.*$/gm, '')
    .replace(/\n{2,}/g, '\n')
    .trimStart();
}

function importedModules(source: string): string[] {
  return [...new Set([...source.matchAll(/import package::(\w+)::/g)].map(([, name]) => name!))];
}

function readModules(id: string, source: string): Record<string, string> {
  const folder = id.slice(0, -basename(id).length);
  const modules: Record<string, string> = { [`./${basename(id)}`]: source };
  for (const name of importedModules(source)) {
    const path = `${folder}${name}.wgsl`;
    Object.assign(modules, readModules(path, withoutComments(readFileSync(path, 'utf8'))));
  }
  return modules;
}

function reflect(id: string, source: string): Partial<Kernel> {
  if (!source.includes('@compute')) return {};
  const name = basename(id, '.wgsl');
  const modules = readModules(id, source);
  // Structs keep their layouts whatever the variant, so any variant will do: the one with no condition set.
  const constants = Object.values(modules).flatMap(
    (module) => /import constants::\{(.*?)\}/s.exec(module)?.[1]?.match(/\w+/g) ?? [],
  );
  const spec = Object.fromEntries(constants.map((constant) => [constant, 4]));
  const reflection = parse(name, link({ name, modules }, spec));
  const entry = reflection.entry.compute[0]?.name;
  if (entry !== name) throw new Error(`${name}.wgsl: the entry point must be called ${name}, not ${entry}.`);
  const params = reflection.uniforms.find((uniform) => uniform.name === 'params');
  return {
    name,
    bindings: bindingsOf(name, Object.values(modules)),
    params: layoutOf(name, params?.type as StructInfo | undefined),
  };
}

const BINDING = /@group\(0\) @binding\((\d+)\) var<(uniform|storage, read_write|storage, read)> (\w+)/g;
const ACCESS = { uniform: 'uniform', 'storage, read': 'read', 'storage, read_write': 'read_write' } as const;

/** What any variant binds: all of them share one layout. A variant alone does not show what others use. */
function bindingsOf(name: string, modules: readonly string[]): KernelBinding[] {
  const bindings = new Map<number, KernelBinding>();
  for (const [, number, address, variable] of modules.flatMap((module) => [...module.matchAll(BINDING)])) {
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
