import { type StructInfo } from 'wgsl_reflect/wgsl_reflect.module.js';
import type { FieldLayout, StructLayout, WgslRecords } from '../../src/wgsl/kernel.js';
import type { LinkedModule } from './modules.js';
import { reflectionOf } from './reflection.js';

const BINDING = /@binding\(\d+\) var<[^>]+> (\w+): ([^;]+);(.*)$/gm;
const CONSTANT = /^const (\w+) = (\d+)u;/gm;

/**
 * The records that the bindings of modules hold: each binding's type names one, or else the comment behind it.
 *
 * @param texts the files of the modules
 */
export function recordsOf(modules: readonly LinkedModule[], texts: readonly string[]): WgslRecords {
  const declared = new Set(modules.flatMap(({ declarations }) => Object.keys(declarations)));
  const structs: Record<string, StructLayout> = {};
  const contents: Record<string, string> = {};
  for (const [, binding, type, comment] of texts.flatMap((text) => [...text.matchAll(BINDING)])) {
    const name = /^array<([A-Z]\w+)>$/.exec(type!)?.[1] ?? /\/\/ *([A-Z]\w+) \[/.exec(comment!)?.[1];
    if (!name) continue;
    contents[binding!] = name;
    if (declared.has(name)) structs[name] ??= structOf(name, modules);
  }
  const constants = texts.flatMap((text) =>
    [...text.matchAll(CONSTANT)].map(([, name, value]) => [name!, Number(value)] as const),
  );
  return { structs, constants: Object.fromEntries(constants), contents };
}

function structOf(name: string, modules: readonly LinkedModule[]): StructLayout {
  const struct = reflectionOf({ name, modules }).structs.find((one) => one.name === name);
  return layoutOf(name, struct);
}

/** @throws Error if there is no such struct, or one of its fields is no 32-bit number */
export function layoutOf(what: string, struct: StructInfo | undefined): StructLayout {
  if (!struct?.members) throw new Error(`${what}: there is no such struct.`);
  const fields = struct.members.map(({ name, offset, type }) => {
    if (!/^[uif]32$/.test(type.name)) throw new Error(`${what}.${name} is no 32-bit number.`);
    return [name, { offset, type: type.name as FieldLayout['type'] }] as const;
  });
  return { bytes: struct.size, fields: Object.fromEntries(fields) };
}
