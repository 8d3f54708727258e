import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { build, type Rolldown } from 'vite';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pageflash-size-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Bytes of a program that uses the built package so, bundled, minified and gzipped; 0 for nothing at all. */
async function sizeOf(program: string): Promise<number> {
  const entry = join(dir, 'main.js');
  writeFileSync(entry, program.replace("'pageflash'", JSON.stringify(resolve('dist/pageflash.js'))));
  const result = await build({
    configFile: false,
    logLevel: 'error',
    build: {
      write: false,
      target: 'es2022',
      minify: true,
      rolldownOptions: {
        input: entry,
        preserveEntrySignatures: 'strict',
        output: { codeSplitting: false, minify: true },
      },
    },
  });
  const [{ code }] = (result as Rolldown.RolldownOutput).output;
  return code.trim() === '' ? 0 : gzipSync(code).length;
}

// A budget is what a page can be asked to load for it. One that is raised says in the commit what for.
test.each([
  { program: "import 'pageflash';", budget: 0, why: 'nothing runs when it is imported' },
  { program: "export { PageflashError } from 'pageflash';", budget: 512, why: 'no list of another function' },
  { program: "export { BlockAllocator } from 'pageflash';", budget: 4096, why: 'no kernel' },
  { program: "export { fitKvCache } from 'pageflash';", budget: 3072, why: 'arithmetic alone' },
  { program: "export { attnVarlen, createRuntime } from 'pageflash';", budget: 88_500, why: 'no cache' },
  { program: "export * from 'pageflash';", budget: 155_000, why: 'everything' },
])('$program takes at most $budget bytes: $why', async ({ program, budget }) => {
  expect(await sizeOf(program)).toBeLessThanOrEqual(budget);
});

const ONE_FILE = resolve('dist/pageflash.min.js');

test('the file for a page without a bundler needs no other, and is as small', () => {
  const code = readFileSync(ONE_FILE, 'utf8');
  expect(code).not.toMatch(/\bimport\b|\brequire\b/);
  expect(gzipSync(code).length).toBeLessThanOrEqual(156_500);
});

test('the file for a page without a bundler exports all of the package', async () => {
  const exportsOf = async (file: string): Promise<string[]> =>
    Object.keys((await import(pathToFileURL(file).href)) as object);
  expect(await exportsOf(ONE_FILE)).toEqual(await exportsOf(resolve('dist/pageflash.js')));
});
