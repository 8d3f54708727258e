import { readdir, readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Browser } from 'puppeteer';
import { launchChrome } from '../../tools/browser/chromePage.js';
import { checkExamplePage } from './examplePage.js';
import { examplesOf } from './readme.js';
import { servePage } from '../../tools/browser/servePage.js';

let browser: Browser;
beforeAll(async () => {
  browser = await launchChrome();
});
afterAll(() => browser.close());

const inBrowsers = examplesOf('browser');

test('the README has a whole example of each kind', () => {
  expect(inBrowsers.map(({ shows }) => shows)).toEqual(['attnVarlen', 'PagedKvCache']);
});

test.each(inBrowsers)('the example of $shows runs as it stands', async ({ shows, code }) => {
  // Where a bundler would resolve the package's name, the page says where it is.
  const server = await servePage(code, { modules: await builtModules() });
  await checkExamplePage(browser, server, shows);
});

/** What the build made, by paths without their ending. */
async function builtModules(): Promise<Record<string, string>> {
  const paths = (await readdir('dist', { recursive: true })).filter((path) => path.endsWith('.js'));
  const modules = paths.map(async (path) => {
    const name = path.replaceAll('\\', '/').replace(/\.js$/, '');
    return [name, await readFile(`dist/${path}`, 'utf8')] as const;
  });
  return Object.fromEntries(await Promise.all(modules));
}
