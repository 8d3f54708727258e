import { WgslReflect } from 'wgsl_reflect/wgsl_reflect.module.js';
import type { Spec, WgslModule } from '../../src/wgsl/kernel.js';
import { link } from '../../src/wgsl/link.js';
import { declarationOf } from '../../src/wgsl/module.js';
import { kernelOf, structOf } from '../../src/wgsl/reflection.js';
import type { LinkedModule } from './modules.js';

/**
 * Checks that what a kernel says of its layouts at run time is what a WGSL parser says of them.
 *
 * @throws Error if it is not, or if two of its bindings have one number
 */
export function checkLayouts(name: string, linked: readonly LinkedModule[]): void {
  const modules = linked.map(({ module }) => module);
  // Structs keep their layouts whatever the variant, so any will do: the one with no condition set.
  const spec = Object.fromEntries(linked.flatMap(({ constants }) => constants.map((one) => [one, 4])));
  const { bindings } = kernelOf(name, modules);
  for (const { name: binding } of bindings) {
    const text = declarationOf(modules, binding);
    const forms = new Set(text.match(/@group\(0\) @binding\(\d+\) var<[^>]+>/g));
    if (forms.size !== 1) throw new Error(`The forms of ${binding} differ: ${[...forms].join(' or ')}.`);
    const struct = /array<\$(\w+)>/.exec(text)?.[1];
    if (struct && declarationOf(modules, struct).includes('struct ')) checkStruct(struct, modules, spec);
  }
  const numbers = new Map(bindings.map((one) => [one.name, one.binding]));
  const reached = link({ name, modules }, spec).matchAll(/@binding\((\d+)\) var<[^>]+> (\w+)/g);
  for (const [, number, binding] of reached)
    if (numbers.get(binding!) !== Number(number))
      throw new Error(`${name}.wgsl: ${binding} and another are both binding ${number}.`);
  checkStruct('Params', modules, spec);
}

function checkStruct(name: string, modules: readonly WgslModule[], spec: Spec): void {
  const { structs } = new WgslReflect(link({ name, modules }, spec));
  const struct = structs.find((one) => one.name === name);
  const own = structOf({ modules }, name);
  const found = struct?.members.map((member) => `${member.name} ${member.offset} ${member.type.name}`);
  const read = Object.entries(own.fields).map(([field, { offset, type }]) => `${field} ${offset} ${type}`);
  if (found?.join() !== read.join() || struct?.size !== own.bytes)
    throw new Error(`${name} must be a struct of 32-bit numbers without conditions.`);
}
