/** What Firefox or Safari lack, or WebGPU only offers as an option, by what it looks like. */
const MISSING: readonly (readonly [what: string, pattern: RegExp])[] = [
  ['an extension', /\b(?:enable|requires)\s+\w+/],
  ['f16', /\bf16\b|\bvec[234]h\b|\bmat[234]x[234]h\b|\d[.\d]*h\b/],
  ['a subgroup operation', /\bsubgroup\w*|\bquad(?:Broadcast|Swap)\w*/],
  ['packed_4x8_integer_dot_product', /\bdot4[IU]8Packed\b|\b(?:un)?pack4x[IU]8\w*/],
  ['a texture', /\btexture_\w+|\bsampler\b/],
  ['a pointer to memory', /\bptr\s*<\s*(?:workgroup|storage|uniform)\b/],
  // To functions of ours, only addresses of whole local variables could be given.
  ['an address', /(?<=[(,=]\s*)(?<!\batomic\w*\(\s*|\barrayLength\(\s*)&(?!&)\s*\w+/],
  ['swizzle_assignment', /\.[xyzwrgba]{2,4}\s*(?:[-+*/%&|^]|<<|>>)?=(?!=)/],
  ['an immediate', /\bvar\s*<\s*immediate\b/],
  [
    'a builtin value',
    /@builtin\((?!(?:workgroup_id|num_workgroups|local_invocation_(?:id|index)|global_invocation_id)\))\w+\)/,
  ],
  // Some drivers do not zero it again each time round a loop.
  ['a variable without initialiser', /\bvar\s+\w+\s*(?::[^=;{}]*)?;/],
];

/** Default limits of WebGPU. */
const MAX_INVOCATIONS = 256;
const MAX_WORKGROUP_BYTES = 16384;
const MAX_STORAGE_BUFFERS = 8;

/** A buffer that is bound for some options of a call only: its binding is 9 or more. */
const OPTIONAL = /@binding\((?:9|\d\d)\)\s*var\s*<\s*storage\b/g;

/** Everything in the WGSL of a whole module that not every WebGPU has, or that its default limits forbid. */
export function portabilityProblems(code: string): string[] {
  return [...MISSING.flatMap(([what, pattern]) => found(what, pattern, code)), ...beyondLimits(code)];
}

function found(what: string, pattern: RegExp, code: string): string[] {
  const match = pattern.exec(code);
  return match ? [`${what}: ${match[0].trim()}`] : [];
}

function beyondLimits(code: string): string[] {
  // A call whose options bind more is refused by a device that binds too few.
  const buffers = [...code.replace(OPTIONAL, '').matchAll(/\bvar\s*<\s*storage\b/g)].length;
  const evaluate = evaluator(code);
  const [, size = ''] = /@workgroup_size\((.*?)\)\s*fn/s.exec(code) ?? [];
  const invocations = size.split(',').reduce((product, factor) => product * evaluate(factor), 1);
  const bytes = workgroupVariables(code).reduce(
    (sum, variable) => sum + Math.ceil(variable.bytes / 16) * 16,
    0,
  );
  return [
    ...(buffers > MAX_STORAGE_BUFFERS ? [`${buffers} storage buffers`] : []),
    ...(invocations > MAX_INVOCATIONS ? [`${invocations} invocations`] : []),
    ...(bytes > MAX_WORKGROUP_BYTES ? [`${bytes} bytes of workgroup memory`] : []),
  ];
}

/** The variables of a module in workgroup memory. */
export function workgroupVariables(code: string): { readonly name: string; readonly bytes: number }[] {
  const evaluate = evaluator(code);
  const variables = code.matchAll(/\bvar\s*<\s*workgroup\s*>\s*(\w+)\s*:\s*([^;]+);/g);
  return Array.from(variables, ([, name, type]) => ({ name: name!, bytes: bytesOf(type!, code, evaluate) }));
}

const SCALAR_BYTES = 4;

function bytesOf(type: string, code: string, evaluate: (expression: string) => number): number {
  const array = /^\s*array<\s*([^,]+(?:<.*>)?)\s*,(.*)>\s*$/s.exec(type);
  if (array) return bytesOf(array[1]!, code, evaluate) * evaluate(array[2]!);
  const name = type.trim();
  if (/^(?:f32|u32|i32|atomic<[ui]32>)$/.test(name)) return SCALAR_BYTES;
  if (name === 'f16') return 2;
  const vector = /^vec([24])([fuih]|<f16>)$/.exec(name);
  if (vector) return Number(vector[1]) * (/[fui]$/.test(name) ? SCALAR_BYTES : 2);
  const alias = new RegExp(`\\balias\\s+${name}\\s*=\\s*([^;]+);`).exec(code);
  if (alias) return bytesOf(alias[1]!, code, evaluate);
  const struct = new RegExp(`\\bstruct\\s+${name}\\s*\\{([^}]*)\\}`).exec(code);
  if (!struct) throw new Error(`What is the size of ${name}?`);
  const members = [...struct[1]!.matchAll(/\w+\s*:\s*([^,]+)/g)];
  return members.reduce((sum, [, member]) => sum + bytesOf(member!, code, evaluate), 0);
}

/** Values of constant expressions of whole numbers. */
function evaluator(code: string): (expression: string) => number {
  const constants = new Map(
    [...code.matchAll(/\bconst\s+(\w+)\s*(?::\s*\w+)?\s*=\s*([^;]+);/g)].map(([, name, value]) => [
      name!,
      value!,
    ]),
  );
  const big = (expression: string): bigint => {
    const text = expression
      .replace(/\b(\d+)u?\b/g, '$1n')
      .replace(/\b[A-Z_a-z]\w*\b/g, (name) => (name === 'max' ? 'max' : `(${big(constants.get(name)!)}n)`));
    const max = (a: bigint, b: bigint): bigint => (a > b ? a : b);
    // Integers divide as those of WGSL do.
    return new Function('max', `return ${text};`)(max) as bigint;
  };
  return (expression) => Number(big(expression));
}
