import { readFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import type { WgslModule } from '../../src/wgsl/kernel.js';
import { SEPARATOR } from '../../src/wgsl/module.js';
import { conditional } from './codeParser.js';
import { parseModule, type ParsedImport, type ParsedModule } from './moduleParser.js';
import { failAt, type ParsedTemplate, type WgslFile } from './tokens.js';

/** A file in which it is known what each name stands for. */
export interface LinkedModule {
  /** Without its ending: what imports call it. */
  readonly name: string;
  readonly module: WgslModule;
  /** Where it lies. */
  readonly path: string;
  /** What it imports of `constants`. */
  readonly constants: readonly string[];
}

/** Gives the file that `package::name` means; throws if there is none. */
export type ReadModule = (name: string) => WgslFile;

/** Reads modules from a folder. */
export function readFrom(folder: string): ReadModule {
  return (name) => {
    const path = join(folder, `${name}.wgsl`);
    return { path: relative('.', path), text: readFileSync(path, 'utf8') };
  };
}

/**
 * A file and all that it imports, in an order in which each comes after what it imports.
 *
 * @throws SyntaxError with file and line: what is no WGSL as we write it, an import of what is not there, a name that is
 * not imported, that hides another, or that two files declare
 */
export function linkModules(root: string, read: ReadModule): LinkedModule[] {
  const parsed = new Map<string, ParsedModule>();
  const visit = (name: string, from?: { readonly module: ParsedModule; readonly line: number }): void => {
    if (parsed.has(name)) return;
    const module = parseModule(fileOf(name, read, from));
    // Found, though not in its place yet, so that a circle ends.
    parsed.set(name, module);
    for (const { from: imported, line } of module.imports)
      if (imported !== CONSTANTS) visit(imported, { module, line });
    parsed.delete(name);
    parsed.set(name, module);
  };
  visit(root);
  checkNames(parsed);
  return [...parsed].map(([name, module]) => ({
    name,
    path: module.file.path,
    constants: module.imports.filter(({ from }) => from === CONSTANTS).map((one) => one.name),
    module: resolved(module),
  }));
}

/** The module of what a spec sets. */
const CONSTANTS = 'constants';

function fileOf(
  name: string,
  read: ReadModule,
  from: { readonly module: ParsedModule; readonly line: number } | undefined,
): WgslFile {
  try {
    return read(name);
  } catch (error) {
    if (!from) throw error;
    failAt(from.module.file, from.line, `there is no ${name}.wgsl to import from.`);
  }
}

/** Checks names over all files: they end up in one text. */
function checkNames(modules: ReadonlyMap<string, ParsedModule>): void {
  const homes = new Map<string, { readonly module: ParsedModule; readonly line: number }>();
  for (const module of modules.values()) {
    for (const { name, line } of module.declarations) {
      const home = homes.get(name) ?? { module, line };
      if (home.module !== module)
        failAt(module.file, line, `${name} is declared in ${home.module.file.path}:${home.line}, too.`);
      homes.set(name, home);
    }
  }
  for (const module of modules.values()) {
    for (const { from, name, line } of module.imports) {
      const home = homes.get(name);
      if (from === CONSTANTS) {
        if (home)
          failAt(module.file, line, `${name} is declared in ${home.module.file.path}:${home.line}, too.`);
      } else if (home?.module !== modules.get(from)) {
        failAt(module.file, line, `${from}.wgsl declares no ${name}.`);
      }
    }
    const own = new Set([
      ...module.declarations.map(({ name }) => name),
      ...module.imports.map((one) => one.as),
    ]);
    const used = new Set<string>();
    for (const { locals, template } of module.declarations) {
      for (const [name, line] of locals)
        if (own.has(name))
          failAt(module.file, line, `${name} hides what has that name outside of the function.`);
      for (const { name, line } of namesIn(template)) {
        used.add(name);
        const home = homes.get(name);
        if (home && !own.has(name) && !locals.has(name))
          failAt(module.file, line, `${name} of ${basename(home.module.file.path)} is not imported.`);
      }
    }
    for (const name of module.sizes) used.add(name);
    for (const { as, line } of module.imports)
      if (!used.has(as)) failAt(module.file, line, `${as} is imported but not used.`);
  }
}

function namesIn(template: ParsedTemplate) {
  return template.filter((part) => typeof part !== 'string');
}

/** Names that are declared or imported become marks, all others text. */
function resolved({ imports, directives, declarations }: ParsedModule): WgslModule {
  const declared = new Set(declarations.map(({ name }) => name));
  const textOf = (template: ParsedTemplate): string =>
    template.map((part) => (typeof part === 'string' ? part : markOf(part.name))).join('');
  const markOf = (name: string): string => {
    if (declared.has(name)) return `$${name}`;
    const found = imports.filter(({ as }) => as === name);
    return found.length > 0 ? found.map(referenceTo).join('') : name;
  };
  const byName = new Map<string, string>();
  for (const { name, template } of declarations)
    byName.set(name, (byName.get(name) ?? '') + textOf(template));
  return [textOf(directives), ...byName.values()].map(tidy).join(SEPARATOR);
}

/** The same with one block for blocks of one condition that follow each other. */
function tidy(template: string): string {
  const tidier = template.replace(/(\?[^{]+\{)([^?#]*)#\}\1/g, '$1$2');
  return tidier === template ? template : tidy(tidier);
}

function referenceTo({ name, condition }: ParsedImport): string {
  return conditional(condition, [`$${name}`]).join('');
}

/** The folder that imports begin at, and what they call the file: what lies in `shared` belongs to the folder above. */
export function moduleOf(path: string): { readonly folder: string; readonly name: string } {
  const own = dirname(path);
  const folder = basename(own) === 'shared' ? dirname(own) : own;
  return {
    folder,
    name: relative(folder, path)
      .replaceAll('\\', '/')
      .replace(/\.wgsl$/, ''),
  };
}
