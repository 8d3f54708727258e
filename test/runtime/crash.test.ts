import { afterAll, beforeAll, expect, test } from 'vitest';
import { openChromePage, type ChromePage } from '../../tools/browser/chromePage.js';

let chrome: ChromePage;
const unhandled: unknown[] = [];
beforeAll(async () => {
  chrome = await openChromePage('test/runtime/crashPage.ts');
  chrome.page.on('pageerror', (error) => unhandled.push(error));
});
afterAll(() => chrome.close());

test('a crash of the GPU process rejects what is pending, and two chats go on with a new device', async () => {
  const { page } = chrome;
  const browser = await page.browser().target().createCDPSession();
  await page.evaluate(() => globalThis.begin());
  await browser.send('Browser.crashGpuProcess');
  const sentences = await page.evaluate(() => globalThis.hear());
  expect(Object.keys(sentences)).toHaveLength(4);
  for (const [caller, sentence] of Object.entries(sentences))
    expect(sentence).toMatch(
      new RegExp(`^device: ${caller}: the runtime cannot be used any more, since the device was lost`),
    );
  await page.evaluate(() => globalThis.goOn());
  expect(unhandled).toEqual([]);
});
