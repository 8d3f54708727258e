import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import type { OutsideProject } from './outsideProject.js';
import { examplesOf, subpathExamples } from './readme.js';

/** A TypeScript, and the packages that it has the types of WebGPU from. */
export interface Compiler {
  /** The package that it is installed as. */
  readonly compiler: string;
  readonly types: readonly string[];
}

interface Compilation extends Compiler {
  readonly skipLibCheck: boolean;
  readonly code: string;
}

/** Compile a module of the project, and report what the compiler says. */
async function compile(
  project: OutsideProject,
  { compiler, types, skipLibCheck, code }: Compilation,
): Promise<string> {
  project.write('main.ts', code);
  const compilerOptions = {
    target: 'es2022',
    lib: ['es2022', 'dom'],
    module: 'nodenext',
    strict: true,
    noEmit: true,
    types,
    skipLibCheck,
  };
  project.write('tsconfig.json', JSON.stringify({ compilerOptions, files: ['main.ts'] }));
  return project.node(resolve('node_modules', compiler, 'bin/tsc'), '-p', '.');
}

/** Makes tests of what a compiler says of programs that use the installed package. */
export function testStrictTypes({ compiler, types }: Compiler, projectOf: () => OutsideProject): void {
  test.each(examplesOf('browser'))('the example of $shows, declarations checked', async ({ code }) => {
    expect(await compile(projectOf(), { compiler, types, skipLibCheck: false, code })).toBe('');
  });

  // `webgpu` brings @webgpu/types, which since TypeScript 6 declares again what lib dom declares.
  test.each(examplesOf('node'))('the example of $shows in Node', async ({ code }) => {
    expect(await compile(projectOf(), { compiler, types, skipLibCheck: true, code })).toBe('');
  });

  test('the examples of subpaths', async () => {
    const code = subpathExamples.join('\n');
    expect(await compile(projectOf(), { compiler, types, skipLibCheck: false, code })).toBe('');
  });

  test('a result with returnLse is a part for mergeStates, and one without is none', async () => {
    const code = (returnLse: boolean): string => `
      import { attnVarlen, mergeStates, type AttnVarlenArgs, type Runtime } from 'pageflash';
      export function merged(runtime: Runtime, args: AttnVarlenArgs) {
        const part = attnVarlen(runtime, { ...args, returnLse: ${returnLse} });
        return mergeStates(runtime, { parts: [part, part] });
      }`;
    expect(await compile(projectOf(), { compiler, types, skipLibCheck: false, code: code(true) })).toBe('');
    const without = compile(projectOf(), { compiler, types, skipLibCheck: false, code: code(false) });
    await expect(without).rejects.toThrow(/TS2322/);
  });

  test('what is wrong is found', async () => {
    const code = "import { createRuntime } from 'pageflash';\ncreateRuntime(1);";
    await expect(compile(projectOf(), { compiler, types, skipLibCheck: false, code })).rejects.toThrow(
      /TS2345/,
    );
  });
}
