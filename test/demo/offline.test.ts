import type { Browser } from 'puppeteer';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { launchChrome } from '../../tools/browser/chromePage.js';
import { buildDemo, ChatPage, type BuiltDemo } from './chatPage.js';

let browser: Browser;
let demo: BuiltDemo;

beforeAll(async () => {
  [demo, browser] = await Promise.all([buildDemo(), launchChrome()]);
});

afterAll(async () => {
  await browser?.close();
  await demo?.close();
});

test('opens and answers while nothing can be reached, and takes a newer build as a whole', async () => {
  const chat = await ChatPage.open({ browser, url: demo.url });
  const { page } = chat;
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
  demo.stop();
  await page.reload();
  await chat.press('What is paged attention?');
  expect(await chat.untilAnswered()).toMatch(/pages/);
  await page.goto(`${demo.url}index.html?from=elsewhere`);
  expect(await chat.text('h1')).toBe('pageflash');
  await page.goto(`${demo.url}oneCall/`);
  expect(await page.title()).toContain('one call');

  await demo.buildNewer();
  await demo.start();
  await page.goto(demo.url);
  const builds = () => page.$eval('html', ({ dataset }) => [dataset['page'], dataset['program']]);
  expect(await builds()).toEqual(['newer', 'newer']);
  // Until all of it is kept.
  await page.waitForFunction(async () => (await caches.keys()).length === 2, { polling: 50 });
  await page.waitForFunction(
    async () => {
      const { active, waiting, installing } = (await navigator.serviceWorker.getRegistration())!;
      return !waiting && !installing && active?.state === 'activated';
    },
    { polling: 50 },
  );
  demo.stop();
  await page.reload();
  expect(await builds()).toEqual(['newer', 'newer']);
  await chat.untilReady();
  expect(demo.missing).toEqual([]);
  expect(chat.foreign).toEqual([]);
});
