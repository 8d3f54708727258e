import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Plugin } from 'vite';
import { checkLayouts } from './checkLayouts.js';
import { linkModules, moduleOf, readFrom } from './modules.js';
import { notesOf } from './notes.js';

// From the working directory, which is the project's: programs that bundle for a browser are themselves bundled elsewhere.
const REFLECTION = resolve('src/wgsl/reflection.ts');

/**
 * Turns an imported `x.wgsl` into a `Kernel`: templates of its text and of all that it imports. `x.wgsl?module` is the
 * `WgslModule` of the file alone, `x.wgsl?notes` what its comments say.
 */
export function wgsl(): Plugin {
  return {
    name: 'wgsl',
    enforce: 'pre',
    load(id) {
      const [, path, query] = /^(.*\.wgsl)(?:\?(module|notes))?$/.exec(id) ?? [];
      if (path === undefined) return undefined;
      const { folder, name } = moduleOf(path);
      const modules = linkModules(name, readFrom(folder));
      for (const module of modules) this.addWatchFile(resolve(module.path));
      if (query === 'notes') {
        const texts = modules.map((module) => readFileSync(module.path, 'utf8'));
        return `export default ${JSON.stringify(notesOf(texts.at(-1)!, texts))};`;
      }
      const own = JSON.stringify(modules.at(-1)!.module);
      if (query === 'module') return `export default ${own};`;
      checkLayouts(name, modules);
      const imported = modules.slice(0, -1).map((module) => module.name);
      return [
        `import { kernelOf } from ${JSON.stringify(REFLECTION)};`,
        ...imported.map((module, i) => `import module${i} from '${folder}/${module}.wgsl?module';`),
        `const own = ${own};`,
        `const modules = [${[...imported.map((_, i) => `module${i}`), 'own'].join(', ')}];`,
        `export default /* @__PURE__ */ kernelOf('${name}', modules);`,
      ].join('\n');
    },
  };
}
