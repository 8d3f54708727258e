import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Plugin } from 'vite';
import type { StructInfo } from 'wgsl_reflect/wgsl_reflect.module.js';
import type { Kernel, KernelBinding } from '../../src/wgsl/kernel.js';
import { linkModules, moduleOf, readFrom, type LinkedModule } from './modules.js';
import { notesOf } from './notes.js';
import { layoutOf, recordsOf } from './records.js';
import { reflectionOf } from './reflection.js';

/**
 * Turns an imported `x.wgsl` into a `Kernel`: templates of its text and of all that it imports, and its bindings and
 * parameters as reflection finds them. A file without an entry point is a module for others to import: a `WgslModule`.
 * `x.wgsl?records` are the structs that its bindings hold, `x.wgsl?notes` what its comments say.
 */
export function wgsl(): Plugin {
  return {
    name: 'wgsl',
    enforce: 'pre',
    load(id) {
      const [, path, query] = /^(.*\.wgsl)(?:\?(records|notes))?$/.exec(id) ?? [];
      if (path === undefined) return undefined;
      const { folder, name } = moduleOf(path);
      const modules = linkModules(name, readFrom(folder));
      for (const module of modules) this.addWatchFile(resolve(module.path));
      const texts = modules.map((module) => readFileSync(module.path, 'utf8'));
      if (query === 'records') return `export default ${JSON.stringify(recordsOf(modules, texts))};`;
      if (query === 'notes') return `export default ${JSON.stringify(notesOf(texts.at(-1)!, texts))};`;
      const { directives, declarations } = modules.at(-1)!;
      const own = JSON.stringify({ directives, declarations });
      if (!texts.at(-1)!.includes('@compute')) return `export default ${own};`;
      const imported = modules.slice(0, -1).map((module) => module.name);
      return [
        ...imported.map((module, i) => `import module${i} from '${folder}/${module}.wgsl';`),
        `const own = ${own};`,
        `export default { modules: [${[...imported.map((_, i) => `module${i}`), 'own'].join(', ')}],`,
        `...${JSON.stringify(reflect(name, modules, texts))} };`,
      ].join('\n');
    },
  };
}

function reflect(
  name: string,
  modules: readonly LinkedModule[],
  texts: readonly string[],
): Omit<Kernel, 'modules'> {
  const params = reflectionOf({ name, modules }).uniforms.find((uniform) => uniform.name === 'params');
  return {
    name,
    bindings: bindingsOf(name, texts),
    params: layoutOf(`${name}.wgsl: params`, params?.type as StructInfo | undefined),
  };
}

const BINDING = /@group\(0\) @binding\((\d+)\) var<(uniform|storage, read_write|storage, read)> (\w+)/g;
const ACCESS = { uniform: 'uniform', 'storage, read': 'read', 'storage, read_write': 'read_write' } as const;

/** What any variant binds: all of them share one layout. A variant alone does not show what others use. */
function bindingsOf(name: string, texts: readonly string[]): KernelBinding[] {
  const bindings = new Map<number, KernelBinding>();
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
