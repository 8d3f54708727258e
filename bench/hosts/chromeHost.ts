import { openChromePage } from '../../tools/browser/chromePage.js';
import type { BenchHost } from '../device/deviceBench.js';
import type { OnProgress } from '../device/measureCase.js';
import { onnxRuntimeDist } from './onnxRuntimeDist.js';

/** Opens the benchmark in a page of headless Chrome. */
export async function openChromeHost(): Promise<BenchHost> {
  const dist = onnxRuntimeDist();
  const chrome = await openChromePage('bench/hosts/benchPage.ts', {
    folders: dist === undefined ? {} : { onnxruntime: dist },
  });
  const { page } = chrome;
  let listener: OnProgress | undefined;
  await page.exposeFunction('onProgress', (done: number, step: string) => listener?.(done, step));
  try {
    return {
      environment: (await page.browser().version()).replace('/', ' '),
      adapter: await page.evaluate(() => globalThis.readAdapter()),
      measure(benchCase, how, onProgress) {
        listener = onProgress;
        return page.evaluate((...args) => globalThis.measureRow(...args), benchCase, how);
      },
      measureRecording: (quick) => page.evaluate((...args) => globalThis.measureRecording(...args), quick),
      measureSweep(args, onProgress) {
        listener = onProgress;
        return page.evaluate((...given) => globalThis.measureSweep(...given), args);
      },
      measureCeilings: () => page.evaluate(() => globalThis.measureCeilings()),
      measureOnnx(onnxCase, quick, onProgress) {
        listener = onProgress;
        return page.evaluate((...args) => globalThis.measureOnnx(...args), onnxCase, quick);
      },
      close: () => chrome.close(),
    };
  } catch (error) {
    await chrome.close();
    throw error;
  }
}
