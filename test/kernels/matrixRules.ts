import { workgroupVariables } from './portability.js';

/** What a driver gets wrong, or a compiler refuses, in the WGSL of a module that uses subgroup matrices. */
export function matrixProblems(code: string): string[] {
  const matrices = ['subgroup_matrix_\\w+', ...aliasesOfMatrices(code)].join('|');
  return [
    // NVIDIA's driver loads garbage where a variable lies off 16 bytes, as those behind a smaller one do.
    ...workgroupVariables(code)
      .filter(({ bytes }) => bytes % 16 !== 0)
      .map(({ name, bytes }) => `${name} takes ${bytes} bytes of workgroup memory, no multiple of 16`),
    // In a loop it would hold what it held the last time round.
    ...found(
      new RegExp(`\\bvar\\s+\\w+\\s*:[^;={}]*\\b(?:${matrices})\\b[^;={}]*;`, 'g'),
      code,
      'no initialiser',
    ),
    ...found(/\bvar\s+\w+\s*;/g, code, 'no type'),
    // An older form says by a bool whether rows or columns lie together.
    ...found(
      /\bsubgroupMatrix(?:Load|Store)\b(?!\s*<[^(;]*\b(?:row|col)_major\s*>)[^;]*;/g,
      code,
      'no layout',
    ),
    ...(/\bdiagnostic\(off,\s*chromium\.subgroup_matrix_uniformity\);/.test(code)
      ? []
      : ['diagnostic(off, chromium.subgroup_matrix_uniformity) is missing']),
  ];
}

function found(pattern: RegExp, code: string, what: string): string[] {
  return Array.from(code.matchAll(pattern), ([text]) => `${text.replace(/\s+/g, ' ')} has ${what}`);
}

function aliasesOfMatrices(code: string): string[] {
  return Array.from(code.matchAll(/\balias\s+(\w+)\s*=\s*subgroup_matrix_/g), ([, alias]) => alias!);
}
