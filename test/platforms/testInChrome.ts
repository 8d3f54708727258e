import { afterAll, beforeAll, describe, test } from 'vitest';
import { openChromePage, type ChromePage } from '../../tools/browser/chromePage.js';
import { title, type GpuCase } from './gpuCase.js';

/** Makes a test of each case, all of which run in one page of a headless Chrome. */
export function testInChrome(suites: Readonly<Record<string, readonly GpuCase[]>>): void {
  let chrome: ChromePage;
  beforeAll(async () => {
    chrome = await openChromePage('tools/browser/page.ts');
  });
  afterAll(() => chrome.close());

  for (const [suite, cases] of Object.entries(suites)) {
    describe(suite, () => {
      for (const gpuCase of cases) test(title(gpuCase), () => run(suite, gpuCase.name));
    });
  }

  async function run(suite: string, name: string): Promise<void> {
    const failure = await chrome.page.evaluate((...names) => globalThis.runGpuCase(...names), suite, name);
    if (failure) {
      throw Object.assign(new Error(failure.message), { stack: chrome.sourceStack(failure.stack) });
    }
  }
}
