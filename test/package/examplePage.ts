import type { Browser } from 'puppeteer';
import { vi } from 'vitest';
import { newPage } from '../../tools/browser/chromePage.js';
import type { PageServer } from '../../tools/browser/servePage.js';
import { checkPrinted, type Example } from './readme.js';

/** Checks what the page of an example logs, and that nothing goes wrong in it; then ends its server. */
export async function checkExamplePage(
  browser: Browser,
  server: PageServer,
  shows: Example['shows'],
): Promise<void> {
  const page = await newPage(browser);
  let printed = '';
  page.on('console', (message) => (printed += `${message.text()}\n`));
  const failed = new Promise<never>((_, reject) => page.on('pageerror', reject));
  try {
    await page.goto(server.url);
    // Kernels are compiled by the CPU where there is no GPU.
    const right = vi.waitFor(() => checkPrinted(shows, printed), { timeout: 240_000, interval: 100 });
    await Promise.race([failed, right]);
  } finally {
    await page.close();
    server.close();
  }
}
