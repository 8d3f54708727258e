import { openChromePage } from '../tools/browser/chromePage.js';
import type { Bench } from './bench.js';
import type { Tell } from './measure.js';

/** The benchmark in a page of headless Chrome. */
export async function openChromeBench(): Promise<Bench> {
  const chrome = await openChromePage('bench/page.ts');
  const { page } = chrome;
  let listener: Tell | undefined;
  await page.exposeFunction('tell', (share: number, step: string) => listener?.(share, step));
  try {
    return {
      environment: (await page.browser().version()).replace('/', ' '),
      adapter: await page.evaluate(() => globalThis.readAdapter()),
      measure(benchCase, quick, tell) {
        listener = tell;
        return page.evaluate((...args) => globalThis.measureRow(...args), benchCase, quick);
      },
      measureRecording: (quick) => page.evaluate((...args) => globalThis.measureRecording(...args), quick),
      close: () => chrome.close(),
    };
  } catch (error) {
    await chrome.close();
    throw error;
  }
}
