import type { Browser, Page } from 'puppeteer';
import { createServer, type ViteDevServer } from 'vite';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { launchChrome } from '../../tools/browser/chromePage.js';

/** A link to the page with a small ragged batch, causal and paged. */
const SETTINGS =
  '#nHeads=4&nKvHeads=2&headDim=64&dtype=f32&lengths=40,7,1/33&causal=on&layout=paged&pageSize=8';

let browser: Browser;
let server: ViteDevServer;
let url: string;
const pageErrors: unknown[] = [];

beforeAll(async () => {
  // As `npm run demo` serves it, but without watching files and with a cache of its own.
  server = await createServer({
    root: 'demo',
    configFile: 'demo/vite.config.ts',
    logLevel: 'warn',
    cacheDir: '../node_modules/.cache/pageflash/demo',
    server: { host: '127.0.0.1', port: 0, hmr: false, watch: null },
  });
  await server.listen();
  url = server.resolvedUrls!.local[0]!;
  browser = await launchChrome();
});

afterAll(async () => {
  await browser?.close();
  await server.close();
});

afterEach(() => expect(pageErrors.splice(0)).toEqual([]));

test('checks and times a ragged batch, draws it, leaves nothing on the GPU, and survives a lost device', async () => {
  const page = await openDemo({ prepare: countBuffers, link: SETTINGS });
  await untilIdle(page);
  expect(await textOf(page, '#error')).toBe('');
  expect(await textOf(page, '#verdict-title')).toBe('Correct: the GPU agrees with the reference');
  expect(await textOf(page, '#verdict-text')).toMatch(/^\d+ of 192 rows/);
  for (const name of ['pageflash', 'naive']) {
    expect(await textOf(page, `#time-${name}`)).toMatch(/^[\d.]+ (µs|ms|s)$/);
    expect(await textOf(page, `#memory-${name}`)).toMatch(/^[\d.]+ \w*B$/);
  }
  expect(await countColours(page)).toBeGreaterThan(20);
  expect(await page.$$eval('#pages-picture rect', (squares) => squares.length)).toBe(11);
  expect(await textOf(page, '#pages-note')).toBe('11 pages of 8 tokens; 9.1 % of their slots are empty.');
  expect(await page.evaluate(() => globalThis.liveBuffers)).toBe(0);

  await page.$eval('[name=nKvHeads]', (field) => ((field as HTMLInputElement).value = '3'));
  await page.click('#run');
  await untilIdle(page);
  expect(await textOf(page, '#error')).toContain('q has 4 heads, which is not a multiple of the 3');

  await page.$eval('[name=nKvHeads]', (field) => ((field as HTMLInputElement).value = '2'));
  await page.evaluate(() => globalThis.lastDevice?.destroy());
  await page.waitForFunction(() =>
    document.querySelector('#error')?.textContent?.includes('The GPU was lost'),
  );
  await page.click('#run');
  await untilIdle(page);
  expect(await textOf(page, '#error')).toBe('');
  expect(await textOf(page, '#stage')).toBe('Done.');
});

test('gives advice if the browser has no WebGPU', async () => {
  const page = await openDemo({
    prepare: () => Object.defineProperty(navigator, 'gpu', { value: undefined }),
  });
  await page.waitForSelector('#notice:not([hidden])');
  expect(await textOf(page, '#notice-title')).toBe('This browser has no WebGPU');
  expect(await textOf(page, '#notice-steps')).toContain('Chrome or Edge: version 113 or later');
  expect(await page.$('#workspace:not([hidden])')).toBeNull();
});

test('gives advice if the browser finds no adapter', async () => {
  const page = await openDemo({
    prepare: () => Object.defineProperty(navigator.gpu, 'requestAdapter', { value: async () => null }),
  });
  await page.waitForSelector('#notice:not([hidden])');
  expect(await textOf(page, '#notice-title')).toBe('No GPU was found');
});

declare global {
  var liveBuffers: number;
  var lastDevice: GPUDevice | undefined;
}

/** Count live buffers. Runs in the page before its scripts. */
function countBuffers(): void {
  globalThis.liveBuffers = 0;
  const { createBuffer } = GPUDevice.prototype;
  const { destroy } = GPUBuffer.prototype;
  const live = new Set<GPUBuffer>();
  GPUDevice.prototype.createBuffer = function create(...args) {
    globalThis.lastDevice = this;
    const buffer = createBuffer.apply(this, args);
    globalThis.liveBuffers = live.add(buffer).size;
    return buffer;
  };
  GPUBuffer.prototype.destroy = function free() {
    live.delete(this);
    globalThis.liveBuffers = live.size;
    return destroy.apply(this);
  };
}

async function openDemo({
  prepare,
  link = '',
}: {
  readonly prepare: () => unknown;
  readonly link?: string;
}): Promise<Page> {
  const page = await browser.newPage();
  page.on('pageerror', (error) => pageErrors.push(error));
  await page.evaluateOnNewDocument(prepare);
  await page.goto(`${url}oneCall/${link}`);
  return page;
}

async function untilIdle(page: Page): Promise<void> {
  await page.waitForSelector('#run:enabled', { visible: true });
  await page.waitForFunction(() =>
    ['#stage', '#error'].some((id) =>
      /^(Done\.|\w+: .*)$/.test(document.querySelector(id)?.textContent ?? ''),
    ),
  );
}

async function textOf(page: Page, selector: string): Promise<string> {
  return page.$eval(selector, (element) => element.textContent ?? '');
}

/** The number of different colours in the picture: few if only the frame is drawn. */
async function countColours(page: Page): Promise<number> {
  return page.$eval('#pattern', (canvas) => {
    const { width, height } = canvas as HTMLCanvasElement;
    const { data } = (canvas as HTMLCanvasElement).getContext('2d')!.getImageData(0, 0, width, height);
    return new Set(new Uint32Array(data.buffer)).size;
  });
}
