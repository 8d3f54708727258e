import { setUp, shuffleFunction } from './emulatedFunctions.js';
import { argumentsFrom, closingOf, constantOf } from './wgslText.js';

/**
 * A kernel that sees subgroups of a size as consecutive invocations: in the builtins, in `invocation_by_subgroup`, and where
 * it exchanges by `subgroupShuffleXor`, which goes through workgroup memory. The whole workgroup has to come there.
 *
 * @throws Error for other functions of subgroups, and for an entry point that demands another size
 */
export function withSubgroupsOf(subgroupSize: number, code: string): string {
  const numbered = withBuiltins(subgroupSize, withNumbering(withoutDemand(subgroupSize, code)));
  const exchanging = numbered.replace(/\bsubgroupShuffleXor\b/g, 'emulated_shuffle_xor');
  const [other] = /\b(?:subgroup|quad)[A-Z]\w*(?=\s*\()/.exec(exchanging) ?? [];
  if (other && !other.startsWith('subgroupMatrix'))
    throw new Error(`${other} would be that of the device's own subgroups.`);
  return exchanging === numbered ? numbered : exchanging + shuffleFunction(invocationsOf(code));
}

/** A kernel whose entry point does not say what size it needs. */
function withoutDemand(subgroupSize: number, code: string): string {
  return code.replace(/@subgroup_size\s*\(\s*(\w+)\s*\)/, (demand, size: string) => {
    if (constantOf(code, size) !== subgroupSize)
      throw new Error(`The kernel has ${demand}, but subgroups of ${subgroupSize} are emulated.`);
    return '';
  });
}

function invocationsOf(code: string): number {
  const [, size] = /@workgroup_size\s*\(\s*(\w+)/.exec(code)!;
  return constantOf(code, size!);
}

function withNumbering(code: string): string {
  const found = /\bfn\s+invocation_by_subgroup\b[^{]*\{/.exec(code);
  if (!found) return code;
  const start = found.index + found[0].length;
  return `${code.slice(0, start)} return emulated_invocation; ${code.slice(closingOf(code, start))}`;
}

function withBuiltins(subgroupSize: number, code: string): string {
  const found = [...code.matchAll(/@compute\b[^{};]*?\bfn\s+\w+\s*\(/g)];
  if (found.length !== 1) throw new Error(`The kernel has ${found.length} entry points, not one.`);
  const invocations = invocationsOf(code);
  if (invocations % subgroupSize !== 0)
    throw new Error(`${invocations} invocations are no whole subgroups of ${subgroupSize}.`);
  const start = found[0]!.index + found[0]![0].length;
  const end = closingOf(code, start);
  const body = code.indexOf('{', end) + 1;
  const emulated: Readonly<Record<string, string>> = {
    subgroup_size: `${subgroupSize}u`,
    subgroup_invocation_id: `emulated_invocation % ${subgroupSize}u`,
    subgroup_id: `emulated_invocation / ${subgroupSize}u`,
  };
  let index = '';
  const kept: string[] = [];
  const lets: string[] = [];
  for (const parameter of argumentsFrom(code, start)) {
    const [, builtin, name] = /@builtin\s*\(\s*(\w+)\s*\)\s*(\w+)\s*:/.exec(parameter) ?? [];
    if (!builtin) throw new Error(`The entry point takes ${parameter.trim()}, which is no builtin.`);
    if (builtin === 'local_invocation_index') index = name!;
    if (builtin in emulated) lets.push(`\n  let ${name} = ${emulated[builtin]};`);
    else kept.push(parameter.trim());
  }
  if (!index) {
    index = 'emulated_index';
    kept.push(`@builtin(local_invocation_index) ${index}: u32`);
  }
  const parameters = kept.join(', ');
  return [
    code.slice(0, start),
    parameters,
    code.slice(end, body),
    setUp(index),
    ...lets,
    code.slice(body),
  ].join('');
}
