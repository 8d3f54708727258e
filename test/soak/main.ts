// npm run test:soak:gpu [-- STEPS]: decode over a churning batch in headless Chrome, 10 000 steps by default, and write
// how much memory there is after each hundredth of them. Fails if anything still grows, or a result is wrong.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { CDPSession } from 'puppeteer';
import { currentCommit } from '../../tools/provenance.js';
import { openChromePage } from '../../tools/browser/chromePage.js';
import { plot } from './plot.js';
import { flatness, type Sample, type SoakResults } from './samples.js';

const N_SAMPLES = 100;
const OUT = 'test/results/soak';

const nSteps = Number(process.argv[2] ?? 10_000);
const chrome = await openChromePage('test/soak/page.ts');
const { page } = chrome;
const browser = page.browser();
const inPage = await page.createCDPSession();
const inBrowser = await browser.target().createCDPSession();
const samples: Sample[] = [];
try {
  const start = performance.now();
  for (let i = 0; i < N_SAMPLES; i++) {
    const sample = await page.evaluate((n) => globalThis.soak(n), Math.ceil(nSteps / N_SAMPLES));
    // Twice, since what the first one finds may hold more.
    for (let pass = 0; pass < 2; pass++) await inPage.send('HeapProfiler.collectGarbage');
    const { usedSize } = await inPage.send('Runtime.getHeapUsage');
    samples.push({ ...sample, heapBytes: usedSize, ...(await gpuProcessMemory(inBrowser)) });
    const { step, msPerStep, sequences, pagesInUse, buffers, bindGroups } = sample;
    console.log(
      `${step} steps, ${msPerStep.toFixed(1)} ms each; ${sequences} sequences in ${pagesInUse} pages; ${buffers} buffers, ${bindGroups} bind groups; heap ${(usedSize / 2 ** 20).toFixed(1)} MiB`,
    );
  }
  const environment = `${(await browser.version()).replace('/', ' ')} on ${await adapterName()}`;
  const checks = flatness(samples);
  const results: SoakResults = {
    date: new Date().toISOString(),
    commit: currentCommit(),
    environment,
    samples,
    checks,
  };
  mkdirSync('test/results', { recursive: true });
  writeFileSync(`${OUT}.json`, `${JSON.stringify(results, null, 1)}\n`);
  writeFileSync(`${OUT}.svg`, plot(results));
  for (const { name, before, after, isFlat } of checks)
    console.log(`${isFlat ? 'flat  ' : 'GROWS '} ${name}: ${before}, then ${after}`);
  const { step, tokens, checked, events } = samples.at(-1)!;
  console.log(`${step} steps, ${tokens} tokens, ${checked} of them compared with the reference`, events);
  console.log(`${OUT}.json and .svg written after ${((performance.now() - start) / 1000).toFixed(0)} s`);
  if (checks.some(({ isFlat }) => !isFlat)) process.exitCode = 1;
} catch (error) {
  const { message, stack = '' } = error as Error;
  console.error(message, chrome.sourceStack(stack));
  process.exitCode = 1;
} finally {
  await chrome.close();
}

function adapterName(): Promise<string> {
  return page.evaluate(async () => {
    const { info } = (await navigator.gpu.requestAdapter())!;
    return info.architecture || info.vendor;
  });
}

/** Memory of the process that has all GPU memory, where it is a software driver's. */
async function gpuProcessMemory(session: CDPSession): Promise<{ gpuProcessBytes?: number }> {
  if (process.platform !== 'linux') return {};
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  const gpu = processInfo.find(({ type }) => type === 'GPU');
  const [, kib] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${gpu!.id}/status`, 'utf8'))!;
  return { gpuProcessBytes: 1024 * Number(kib) };
}
