import type { WgslModule } from './kernel.js';

/** The parts of a `.wgsl` file, as templates. */
export interface ModuleParts {
  /** `enable` and its like. */
  readonly directives: string;
  /** By name, in the order of the file. Of one that has several forms, at most one is in a variant. */
  readonly declarations: ReadonlyMap<string, string>;
}

const PARTS = new Map<WgslModule, ModuleParts>();

/** What a file consists of; it is taken apart once. */
export function partsOf(module: WgslModule): ModuleParts {
  let parts = PARTS.get(module);
  if (!parts) {
    const [directives, ...texts] = module.split(SEPARATOR) as [string, ...string[]];
    parts = { directives, declarations: new Map(texts.map((text) => [NAME.exec(text)![1]!, text])) };
    PARTS.set(module, parts);
  }
  return parts;
}

/** The text of a declaration; empty if there is none. */
export function declarationOf(modules: readonly WgslModule[], name: string): string {
  for (const module of modules) {
    const text = partsOf(module).declarations.get(name);
    if (text !== undefined) return text;
  }
  return '';
}

/** Stands before each declaration. */
export const SEPARATOR = '#;';

const NAME = /\b(?:fn|struct|const|override|alias|var(?:<[^>]+>)?) (\w+)/;
