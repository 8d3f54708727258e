import { readdirSync, readFileSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createOutsideProject, type OutsideProject } from '../package/outsideProject.js';

const FOLDER = 'docs/guide';

/** A page of the guide, or the home page. Its TypeScript blocks are one strict program, in their order. */
interface Page {
  readonly name: string;
  readonly text: string;
  readonly program: string;
}

const guide = readdirSync(FOLDER).filter((file) => file.endsWith('.md'));
const pages: readonly Page[] = ['../index.md', ...guide].map((file) => {
  const text = readFileSync(`${FOLDER}/${file}`, 'utf8');
  return { name: basename(file, '.md'), text, program: programOf(text) };
});

/** The blocks of a page one after another, but for programs of their own for Node, which test/package runs. */
function programOf(text: string): string {
  const blocks = [...text.matchAll(/```ts\n(.*?)```/gs)].map(([, block]) => block!);
  const code = blocks.filter((block) => !block.includes("from 'webgpu'")).join('\n');
  // It must be a module, also where it imports nothing.
  return code && `${code}\nexport {};\n`;
}

let project: OutsideProject;
beforeAll(async () => {
  project = await createOutsideProject(inject('mesa'));
  project.add('webgpu');
  // The pages are for browsers; Node has WebGPU as a package.
  project.write(
    'browser.mjs',
    `import { create } from 'webgpu';
     Object.defineProperty(globalThis, 'navigator', { value: { gpu: create([]) } });`,
  );
  for (const { name, program } of pages) {
    project.write(`${name}.ts`, program);
    project.write(
      `${name}.main.mjs`,
      `import './browser.mjs';\nawait import('./${name}.js');\nprocess.exit(0);\n`,
    );
  }
  const compilerOptions = {
    target: 'es2022',
    lib: ['es2022', 'dom'],
    module: 'nodenext',
    strict: true,
    types: [],
  };
  const files = pages.map(({ name }) => `${name}.ts`);
  project.write('tsconfig.json', JSON.stringify({ compilerOptions, files }));
  await project.node(resolve('node_modules/typescript/bin/tsc'), '-p', '.');
});
afterAll(() => project.remove());

test('every page of the guide has a program', () => {
  expect(pages.filter(({ program }) => !program).map(({ name }) => name)).toEqual([]);
});

test.each(pages)('all code of the page $name is TypeScript, or for a shell', ({ text }) => {
  const languages = [...text.matchAll(/^```(.*)\n[^]*?^```$/gm)].map(([, language]) => language);
  expect(languages.filter((language) => !['ts', 'sh', 'text'].includes(language!))).toEqual([]);
});

test.each(pages)('the page $name prints what it says', async ({ name, text }) => {
  const printed = await project.node(`${name}.main.mjs`);
  expect(printed).toMatchSnapshot();
  for (const [, said] of text.matchAll(/^It prints\n\n```text\n(.*?)```/gms)) expect(printed).toContain(said);
});
