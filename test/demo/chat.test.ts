import type { Browser } from 'puppeteer';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { launchChrome } from '../../tools/browser/chromePage.js';
import { buildDemo, ChatPage, USE_OWN_HUB, type BuiltDemo } from './chatPage.js';
import { takePictures } from './pictures.js';

const KV_CACHE =
  'A KV cache stores the keys and values of all earlier tokens, so that each new token only has to compute its own.';
const ALPHABET = 'a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z.';

/** Notes the device of the worker, so that a test can lose it, and the kernels for which a step waited. */
const NOTE_DEVICE = `
  globalThis.nCompiled = 0;
  const { createComputePipeline } = GPUDevice.prototype;
  GPUDevice.prototype.createComputePipeline = function create(...args) {
    globalThis.nCompiled++;
    return createComputePipeline.apply(this, args);
  };
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function request(...args) {
    return (globalThis.lastDevice = await requestDevice.apply(this, args));
  }`;

let browser: Browser;
let demo: BuiltDemo;
let chat: ChatPage;

// One page for all, since each engine compiles its kernels. What needs a page of its own opens it.
beforeAll(async () => {
  [demo, browser] = await Promise.all([buildDemo(), launchChrome()]);
  chat = await ChatPage.open({ browser, url: demo.url, inWorker: NOTE_DEVICE + USE_OWN_HUB });
  await chat.untilReady();
});

afterAll(async () => {
  await browser?.close();
  await demo?.close();
});

beforeEach(() => chat.beginAnew());

afterEach(() => expectQuiet(chat));

/** Nothing has failed, and nothing was asked of others. */
function expectQuiet({ errors, foreign }: ChatPage): void {
  expect(errors.splice(0)).toEqual([]);
  expect(foreign).toEqual([]);
  expect(demo.missing).toEqual([]);
}

test('answers what the model was taught, without a network, again otherwise, and forked', async () => {
  await takePictures(chat.page, 'empty');
  await chat.page.setOfflineMode(true);
  await chat.press('What is a KV cache?');
  expect(await chat.untilAnswered()).toBe(KV_CACHE);
  expect(await chat.text('.made .hint')).toMatch(/^\d+ tokens, [\d.,]+ a second · most likely tokens$/);

  await chat.press('Fork', 'A');
  expect(await chat.untilAnswered('B')).toBe(KV_CACHE);
  await chat.type('Tell me more.', 'B');
  expect(await chat.untilAnswered('B', 2)).toBe(
    'It grows with every token, every layer and every key and value head, so it soon becomes the largest thing in memory after the weights.',
  );
  // The turns before were in the cache.
  expect(Number.parseInt(await chat.text('#live .facts dd'), 10)).toBeGreaterThan(30);

  await chat.press('Another answer', 'A');
  expect(await chat.untilAnswered('A')).not.toBe('');
  expect(await chat.text('[aria-label="Conversation A"] .made .hint')).toContain('temperature 0.7, seed 1');
  await chat.page.setOfflineMode(false);
});

test('answers several at once, forks one on its way, and stops', async () => {
  await chat.press('Ask four of them at once');
  expect(await chat.page.$$eval('.column', (columns) => columns.length)).toBe(4);
  await chat.page.waitForFunction(() =>
    document.querySelector('.speed')?.textContent?.includes('answers are computed in one batch'),
  );
  await takePictures(chat.page, 'busy');
  expect(await chat.untilAnswered('A')).toBe(KV_CACHE);
  expect(await chat.untilAnswered('B')).toMatch(/^It loads a tile of keys and values/);
  await chat.untilAnswered('C');
  expect(await chat.untilAnswered('D')).toMatch(/^Prefill processes the whole prompt at once/);

  await chat.type('Tell me a story about a token.', 'A');
  const begun = await chat.untilAnswering('A', 20);
  await chat.pressAtOnce('Another end', 'A');
  await chat.untilAnswering('E', 30);
  await chat.pressAtOnce('Stop Conversation E', 'E');
  const stopped = await chat.untilAnswered('E', 2);
  expect(stopped.startsWith(begun)).toBe(true);
  expect(await chat.untilAnswered('A', 2)).not.toBe(stopped);
  expect(await chat.text('[aria-label="Conversation E"] .answer:last-child .hint')).toMatch(
    /temperature 0.7, seed 1 · stopped$/,
  );
});

test('goes through everything by keyboard, and has a name for each control', async () => {
  const { page } = chat;
  const focusOn = async (name: string): Promise<void> => {
    for (let i = 0; i < 40; i++) {
      await page.keyboard.press('Tab');
      const focused = await page.evaluate(() => document.activeElement?.getAttribute('aria-label'));
      if (focused === name) return;
    }
    throw new Error(`Tab does not reach ${name}.`);
  };
  await focusOn('Question in Conversation A');
  await page.keyboard.type('Say the alphabet.');
  await page.keyboard.press('Enter');
  expect(await chat.untilAnswered()).toBe(ALPHABET);
  expect(await chat.text('[role=status].unseen')).toBe('The answer in conversation A is complete.');
  await focusOn('Page');
  // Wherever the first page of the prompt is.
  const text = await chat.findPage('Say the alphabet');
  expect(text).toContain('cached, found again by A');
  expect(text).toContain('<|bos|><|user|>Say the alphabet.<|end|>');

  await page.focus('[aria-label="Delete Conversation A"]');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.welcome');
  expect(await chat.text('.note')).toContain('Conversation A was deleted.');
  await page.waitForFunction(() => document.activeElement?.textContent === 'Undo');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.note', { hidden: true });
  expect(await chat.answers('B')).toEqual([ALPHABET]);
  await chat.pressAtOnce('Delete Conversation B', 'B');
  await page.waitForSelector('.note');
  await takePictures(page, 'deleted');
  expect(await page.evaluate(namelessControls)).toEqual([]);
  for (const scheme of ['light', 'dark']) {
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    expect(await page.evaluate(lowContrast)).toEqual([]);
  }
});

test('shows what tokens look at, and how it goes on', async () => {
  const { page } = chat;
  await chat.press('What is a KV cache?');
  await chat.untilAnswered();
  await chat.press('Show the pattern');
  await page.waitForSelector('.pattern-map[aria-busy=false]');
  expect(await chat.inWorker('nCompiled')).toBe(0);
  const nTokens = async (): Promise<number> =>
    Number(/(\d+) tokens/.exec(await chat.text('.pattern-text'))![1]);
  const nBefore = await nTokens();
  const nShades = await page.$eval('.pattern-map', (map) => {
    const { width, height } = map as HTMLCanvasElement;
    const { data } = (map as HTMLCanvasElement).getContext('2d')!.getImageData(0, 0, width, height);
    return new Set(new Uint32Array(data.buffer)).size;
  });
  expect(nShades).toBeGreaterThan(20);

  const untilTold = async (what: string): Promise<string> => {
    const found = await page.waitForFunction(
      (wanted) => {
        const text = document.querySelector('.pattern-map')!.getAttribute('aria-valuetext')!;
        return new RegExp(wanted).test(text) && text;
      },
      { polling: 20 },
      what,
    );
    return (await found.jsonValue()) as string;
  };
  const told = async (key: 'ArrowUp' | 'ArrowRight' | 'Home' | 'End', what: string): Promise<string> => {
    await page.keyboard.press(key);
    return untilTold(what);
  };
  const map = (await page.$('canvas.pattern-map'))!;
  await map.scrollIntoView();
  const { x, y } = await map.clickablePoint({ x: 3, y: 3 });
  await page.mouse.move(x, y);
  await untilTold('^Token 0, “<\\|bos\\|>”, looks at token 0, “<\\|bos\\|>”: 100 %. That is its most.$');
  await page.hover('h1');
  await untilTold('^no pair of tokens is chosen$');
  await map.focus();
  // In the last row, whose token sees all.
  const last = nBefore - 1;
  await told('ArrowRight', `^Token ${last}, “.+”, looks at token ${last}, `);
  const text = await told('Home', `^Token ${last}, “.+”, looks at token 0, “<\\|bos\\|>”: `);
  expect(text).toMatch(/: (\d+|below 1) %\. (That is its most|Most at token \d+, “.+”: \d+ %)\.$/);
  expect(await chat.text('.pattern-text')).toBe(text);
  await told('ArrowUp', `^Token ${last - 1}, .+ looks at token 0, `);
  await told('End', `^Token ${last - 1}, .+ does not see token ${last}, “.+”, which comes later.$`);
  expect(await page.evaluate(namelessControls)).toEqual([]);
  expect(await page.evaluate(lowContrast)).toEqual([]);

  await page.keyboard.press('Escape');
  await page.locator('::-p-aria([name="Layer"])').fill('1');
  await page.waitForSelector('.pattern-map[aria-busy=false]');
  await chat.type('Tell me more.');
  await chat.untilAnswered('A', 2);
  await page.waitForFunction(
    (n) => Number(/(\d+) tokens/.exec(document.querySelector('.pattern-text')!.textContent!)?.[1]) > n,
    { polling: 50 },
    nBefore,
  );
  await takePictures(page, 'pattern');
  await chat.press('Hide the pattern');
});

test('finds the pages of a conversation after a reload, and computes what was damaged again', async () => {
  const { page } = chat;
  const restored = (): Promise<string | undefined> =>
    page.$$eval('#live .facts div', (facts) =>
      facts.map(({ textContent }) => textContent ?? '').find((text) => text.startsWith('Restored')),
    );
  await chat.press('What is a KV cache?');
  expect(await chat.untilAnswered()).toBe(KV_CACHE);
  await expect.poll(() => page.evaluate(keptBytes), { timeout: 10_000 }).toBeGreaterThan(0);
  const nBytes = await page.evaluate(keptBytes);
  await page.reload();
  await chat.untilReady();
  await page.waitForFunction(() => document.querySelector('#live .facts dd')?.textContent !== '–');
  expect(await restored()).toMatch(/^Restored\d+ tokens$/);
  expect(await chat.findPage('What is a KV cache?')).toContain('cached, found again by A');
  await chat.type('Tell me more.');
  expect(await chat.untilAnswered('A', 2)).toMatch(/^It grows with every token/);
  // A new engine has computed nothing else that could be found.
  expect(Number.parseInt(await chat.text('#live .facts dd'), 10)).toBeGreaterThan(50);

  // A save that is still on its way would replace what is damaged.
  await expect.poll(() => page.evaluate(keptBytes), { timeout: 10_000 }).toBeGreaterThan(nBytes);
  await page.evaluate(damageKept);
  await page.reload();
  await chat.untilReady();
  await page.waitForFunction(() => document.querySelector('#live .facts dd')?.textContent !== '–');
  expect(await restored()).toBeUndefined();
  expect(await chat.text('#live .facts')).toMatch(/Could not be restored\s+1, computed anew/);
  expect(await page.evaluate(keptBytes)).toBe(0);
  await chat.press('Another answer', 'A');
  expect(await chat.untilAnswered('A', 2)).not.toBe('');
  await expect.poll(() => page.evaluate(keptBytes), { timeout: 10_000 }).toBeGreaterThan(0);
  await chat.beginAnew();
  await expect.poll(() => page.evaluate(keptBytes), { timeout: 10_000 }).toBe(0);
});

test('switches to naive attention while it answers, and shows what that takes', async () => {
  await chat.type('Say the alphabet.');
  await chat.untilAnswering();
  await chat.page.click('input[value=naive]');
  await chat.page.waitForSelector('input[value=naive]:checked:enabled');
  expect(await chat.untilAnswered()).toBe(ALPHABET);
  const rows = await chat.page.$$eval('table tr', (all) =>
    all.map((row) => [...row.children].map(({ textContent }) => textContent ?? '')),
  );
  const figures = Object.fromEntries(rows.map(([name, ...values]) => [name, values]));
  expect(figures['Cache set aside']).toEqual(['4.19 MB', '8.39 MB']);
  expect(figures['Scores written out']).toEqual(['none', '8.39 MB']);
  expect(figures['Tokens a second, last use']![0]).toMatch(/^[\d.]+$/);
});

test('goes on with an answer when the device is lost', async () => {
  await chat.type('Say the alphabet.');
  const begun = await chat.untilAnswering();
  await chat.pressAtOnce('Another end', 'A');
  await chat.untilAnswering('B');
  await chat.inWorker('lastDevice.destroy()');
  await chat.page.waitForFunction(
    () => document.querySelector('.status')?.textContent?.includes('The GPU was lost'),
    { polling: 20 },
  );
  await takePictures(chat.page, 'lost');
  expect(await chat.untilAnswered()).toBe(ALPHABET);
  expect((await chat.untilAnswered('B')).split(begun)).toEqual(['', expect.stringMatching(/z/)]);
});

test('loads a model of the hub, keeps it, and goes on after a reload with what was asked before', async () => {
  const { page } = chat;
  await chat.press('Count from 3 to 18.');
  const counted = await chat.untilAnswered();
  await page.click('.model');
  await page.click('dialog input[value=hub]');
  await page.locator('dialog input[list]').fill('pageflash/tiny');
  await chat.press('Does it fit?');
  await page.waitForFunction(() => document.querySelector('#fit')?.textContent?.includes('fits: '));
  await takePictures(page, 'dialog');
  expect(await chat.text('#fit')).toBe(
    'pageflash/tiny fits: 886K parameters, 1.77 MB of weights in f16. Beside them, 3.9M tokens of cache would fit; 4,096 are set aside, 4.19 MB, and a conversation may have 1,024.',
  );
  await chat.press('Load');
  await chat.untilReady('tiny');
  // What another model has said is not this one's.
  expect(await chat.text('.welcome .hint')).toBe(
    'A conversation with other models is kept, and shown with these.',
  );
  await chat.type('Say the alphabet.');
  await page.waitForSelector('.answer');
  const nRequests = demo.hubRequests.length;
  await page.reload();
  expect(await chat.untilAnswered()).toBe(ALPHABET);
  expect(await chat.text('.model')).toBe('tiny · 886K · f16');
  expect(demo.hubRequests.slice(nRequests)).toEqual([]);
  await expect.poll(() => page.evaluate(keptBytes), { timeout: 10_000 }).toBeGreaterThan(0);
  await page.click('.model');
  await chat.press('Delete pageflash/tiny');
  await page.waitForSelector('.kept', { hidden: true });
  await page.click('dialog input[value=shipped]');
  await chat.press('Load');
  await chat.untilReady();
  expect(await chat.answers()).toEqual([counted]);
  expect(await page.evaluate(keptBytes)).toBeGreaterThan(0);
});

test('says what to do when the GPU has no memory left', async () => {
  await chat.inWorker(`lastDevice.dispatchEvent(
    new GPUUncapturedErrorEvent('uncapturederror', { error: new GPUOutOfMemoryError('no memory') }))`);
  await chat.page.waitForSelector('.advice');
  expect(await chat.text('.advice h2')).toBe('The GPU has run out of memory');
  await takePictures(chat.page, 'memory');
  await chat.page.click('.model');
  await chat.page.click('dialog input[value=folder]');
  const [folder] = await Promise.all([
    chat.page.waitForFileChooser(),
    chat.page.click('dialog input[type=file]'),
  ]);
  await folder.accept(['demo/model']);
  await chat.press('Load');
  await chat.untilReady('model');
  await chat.press('Why is the sky blue?');
  expect(await chat.untilAnswered()).not.toBe('');
});

test('says what to do without WebGPU', async () => {
  const inWorker = `Object.defineProperty(navigator, 'gpu', { value: undefined });`;
  const other = await ChatPage.open({ browser, url: demo.url, inWorker });
  await other.page.waitForSelector('.advice');
  expect(await other.text('.advice h2')).toBe('This browser has no WebGPU');
  expect(await other.text('.advice ul')).toContain('Chrome or Edge: version 113 or later');
  expect(await other.page.$('textarea:enabled')).toBeNull();
  await takePictures(other.page, 'no-webgpu');
  expectQuiet(other);
  await other.close();
});

test('says why a model does not fit', async () => {
  const choice = { source: { kind: 'shipped' }, budgetBytes: 3e6 };
  const saved = JSON.stringify({ conversations: [], shown: [], choice });
  const inPage = `localStorage.setItem('pageflash.chat.1', ${JSON.stringify(saved)});`;
  const other = await ChatPage.open({ browser, url: demo.url, inPage });
  await other.page.waitForSelector('.advice');
  expect(await other.text('.advice')).toMatch(
    /The model cannot be loaded\s+The tiny model does not fit: it has 1.77 MB of weights in f16, and steps take .+, of 3.00 MB that it may take\./,
  );
  await takePictures(other.page, 'does-not-fit');
  expectQuiet(other);
  await other.close();
});

/** Runs in the page: bytes of conversations in the browser's storage. */
async function keptBytes(): Promise<number> {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle('conversations');
  let bytes = 0;
  for await (const handle of folder.values())
    bytes += (await (handle as FileSystemFileHandle).getFile()).size;
  return bytes;
}

/** Runs in the page. */
async function damageKept(): Promise<void> {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle('conversations');
  for await (const handle of folder.values()) {
    const writable = await (handle as FileSystemFileHandle).createWritable({ keepExistingData: true });
    await writable.write({ type: 'write', position: 1000, data: new Uint8Array(4).fill(0xff) });
    await writable.close();
  }
}

/** Runs in the page: what can be used, but has no name for a screen reader. */
function namelessControls(): string[] {
  return [...document.querySelectorAll<HTMLElement>('button, a, input, select, textarea, canvas, [role]')]
    .filter((control) => {
      const { labels } = control as HTMLInputElement;
      const id = control.getAttribute('aria-labelledby');
      const name =
        control.getAttribute('aria-label') ??
        (id ? document.getElementById(id)?.textContent : control.textContent);
      const needsName = control.getAttribute('role') !== 'status';
      return needsName && !name?.trim() && !labels?.[0]?.textContent?.trim();
    })
    .map(({ outerHTML }) => outerHTML);
}

/** Runs in the page: text whose contrast with what is behind it is below 4.5. */
function lowContrast(): string[] {
  const channels = (color: string): number[] => color.match(/[\d.]+/g)!.map(Number);
  const luminance = ([r = 0, g = 0, b = 0]: number[]): number => {
    const linear = [r, g, b].map((c) =>
      c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4,
    );
    return 0.2126 * linear[0]! + 0.7152 * linear[1]! + 0.0722 * linear[2]!;
  };
  const behind = (element: Element): number[] => {
    for (let at: Element | null = element; at; at = at.parentElement) {
      const color = channels(getComputedStyle(at).backgroundColor);
      if (color[3] !== 0) return color;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll<HTMLElement>('body *')]
    .filter((element) =>
      [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent?.trim()),
    )
    .filter((element) => element.checkVisibility({ opacityProperty: true }) && !element.closest(':disabled'))
    .map((element) => {
      const [one, other] = [luminance(channels(getComputedStyle(element).color)), luminance(behind(element))];
      const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
      return { ratio, text: element.textContent };
    })
    .filter(({ ratio }) => ratio < 4.5)
    .map(({ ratio, text }) => `${ratio.toFixed(1)}: ${text}`);
}
