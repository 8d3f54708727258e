import { afterAll, beforeAll, describe, test } from 'vitest';
import { everyPair } from './conformance/index.js';
import { suites } from './gpu/index.js';
import { openChromePage, type ChromePage } from './support/chromePage.js';
import { title } from './support/gpuCase.js';

let chrome: ChromePage;
beforeAll(async () => {
  chrome = await openChromePage('test/support/page.ts');
});
afterAll(() => chrome.close());

for (const [suite, cases] of Object.entries({ ...suites, ...everyPair })) {
  describe(suite, () => {
    for (const gpuCase of cases) test(title(gpuCase), () => runInPage(suite, gpuCase.name));
  });
}

async function runInPage(suite: string, name: string): Promise<void> {
  const failure = await chrome.page.evaluate((...names) => globalThis.runGpuCase(...names), suite, name);
  if (failure) {
    throw Object.assign(new Error(failure.message), { stack: chrome.sourceStack(failure.stack) });
  }
}
