import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createOutsideProject, type OutsideProject } from './support/outsideProject.js';
import { checkPrinted } from './support/printed.js';
import { examples, type Example } from './support/readme.js';

let project: OutsideProject;
beforeAll(async () => {
  project = await createOutsideProject();
  project.add('@webgpu/types');
  project.add('webgpu');
});
afterAll(() => project.remove());

/** TypeScript as people have it, and where it has the types of WebGPU from. */
const COMPILERS = [
  { compiler: 'typescript-5.9', types: ['@webgpu/types'] },
  { compiler: 'typescript', types: [] },
  { compiler: 'typescript-7', types: [] },
] as const;

interface Compilation {
  readonly compiler: string;
  readonly types: readonly string[];
  readonly skipLibCheck: boolean;
  readonly code: string;
}

/** Compile a module of the project, and report what the compiler says. */
async function compile({ compiler, types, skipLibCheck, code }: Compilation): Promise<string> {
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

describe.each(COMPILERS)('as strict TypeScript, by $compiler', ({ compiler, types }) => {
  test.each(examplesOf('browser'))('the example of $shows, declarations checked', async ({ code }) => {
    expect(await compile({ compiler, types, skipLibCheck: false, code })).toBe('');
  });

  // `webgpu` brings @webgpu/types, which since TypeScript 6 declares again what lib dom declares.
  test.each(examplesOf('node'))('the example of $shows in Node', async ({ code }) => {
    expect(await compile({ compiler, types, skipLibCheck: true, code })).toBe('');
  });

  test('what is wrong is found', async () => {
    const code = "import { createRuntime } from 'pageflash';\ncreateRuntime(1);";
    await expect(compile({ compiler, types, skipLibCheck: false, code })).rejects.toThrow(/TS2345/);
  });
});

describe('in Node', () => {
  test.each(examplesOf('node'))('the example of $shows prints what is right', async ({ shows, code }) => {
    project.write('main.mjs', code);
    checkPrinted(shows, await project.node('main.mjs'));
  });
});

function examplesOf(host: Example['host']): readonly Example[] {
  const found = examples.filter((example) => example.host === host);
  if (found.length < 2) throw new Error(`The README has ${found.length} whole examples for ${host}.`);
  return found;
}
