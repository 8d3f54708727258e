import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Browser } from 'puppeteer';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { launchChrome } from '../../tools/browser/chromePage.js';
import { serveFolder } from '../../tools/browser/servePage.js';
import { checkExamplePage } from './examplePage.js';
import { createOutsideProject, type OutsideProject } from './outsideProject.js';
import { places } from './places.js';
import { checkPrinted, examplesOf, type Example } from './readme.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** The path of Deno. */
    deno: string;
  }
}

/** Where packages are that this repository does not have itself. */
const WEBPACK = 'node_modules/.cache/pageflash/webpack/node_modules';

let browser: Browser;
beforeAll(async () => {
  browser = await launchChrome();
});
afterAll(() => browser.close());

const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { readonly version: string };

/** Makes the tests of a kind of project: each has a project of its own, in which everything is installed. */
function inPlace(
  name: string,
  host: Example['host'],
  use: (project: OutsideProject, example: Example) => Promise<void>,
): void {
  describe(name, () => {
    let project: OutsideProject;
    beforeEach(async () => {
      project = await createOutsideProject(inject('mesa'));
      const { packages } = places[name]!;
      for (const needed of packages.filter((each) => each !== 'pageflash'))
        project.add(needed, existsSync(join(WEBPACK, needed)) ? WEBPACK : 'node_modules');
      return () => project.remove();
    });
    test.each(examplesOf(host))('runs the example of $shows', (example) => use(project, example));
  });
}

/** Runs the commands of the README, and returns what the last one prints. */
async function runCommands(project: OutsideProject, name: string): Promise<string> {
  let printed = '';
  for (const line of places[name]!.commands) {
    const [, program] = /^node (\S+)$/.exec(line) ?? [];
    // As in other tests in Node: on a driver that compiles sooner.
    printed = program ? await project.node(program) : await project.command(line, dirname(inject('deno')));
  }
  return printed;
}

test('the README names these kinds of projects, and what to install in them', () => {
  const packages = Object.entries(places).map(([name, place]) => [name, place.packages.join(' ')]);
  expect(Object.fromEntries(packages)).toEqual({
    Vite: 'pageflash vite',
    webpack: 'pageflash webpack webpack-cli',
    'A page without a bundler': '',
    Node: 'pageflash webgpu',
    Deno: 'pageflash',
  });
});

inPlace('Vite', 'browser', async (project, { code, shows }) => {
  project.write('index.html', places['Vite']!.html!);
  project.write('main.ts', code);
  await runCommands(project, 'Vite');
  await checkExamplePage(browser, await serveFolder(join(project.dir, 'dist')), shows);
});

inPlace('webpack', 'browser', async (project, { code, shows }) => {
  project.write('src/index.js', code);
  await runCommands(project, 'webpack');
  project.write('dist/index.html', places['webpack']!.html!);
  await checkExamplePage(browser, await serveFolder(join(project.dir, 'dist')), shows);
});

inPlace('A page without a bundler', 'browser', async (project, { code, shows }) => {
  const html = places['A page without a bundler']!.html!;
  const address = `https://cdn.jsdelivr.net/npm/pageflash@${version}/`;
  expect(html, 'the address has the version of package.json').toContain(address);
  project.write('index.html', html.replace(address, './node_modules/pageflash/'));
  project.write('main.js', code);
  await checkExamplePage(browser, await serveFolder(project.dir), shows);
});

inPlace('Node', 'node', async (project, { code, shows }) => {
  project.write('main.mjs', code);
  checkPrinted(shows, await runCommands(project, 'Node'));
});

inPlace('Deno', 'browser', async (project, { code, shows }) => {
  project.write('main.ts', code);
  checkPrinted(shows, await runCommands(project, 'Deno'));
});
