import { WgslReflect } from 'wgsl_reflect/wgsl_reflect.module.js';
import { link } from '../../src/wgsl/link.js';
import type { LinkedModule } from './modules.js';

/**
 * What `wgsl_reflect` says of a declaration and of all that it needs. Structs keep their layouts whatever the variant, so
 * any variant will do: the one with no condition set.
 */
export function reflectionOf({
  name,
  modules,
}: {
  readonly name: string;
  readonly modules: readonly LinkedModule[];
}): WgslReflect {
  const spec = Object.fromEntries(modules.flatMap(({ constants }) => constants.map((one) => [one, 4])));
  const code = link({ name, modules }, spec);
  try {
    return new WgslReflect(code);
  } catch (error) {
    const { message } = error as Error;
    const line = code.split('\n')[Number(/Line: (\d+)/.exec(message)?.[1]) - 1];
    throw new Error(`${name}: ${message}: ${line}`, { cause: error });
  }
}
