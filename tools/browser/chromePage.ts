import type { Page } from 'puppeteer';
import { bundleScript } from './bundleScript.js';
import { launchChrome } from './launchChrome.js';
import { newPage, servePage } from './servePage.js';

export interface ChromePage {
  readonly page: Page;
  /** A stack trace of the page with the files and lines of the sources. */
  sourceStack(stack: string): string;
  close(): Promise<void>;
}

/** Bundle a TypeScript entry into one script and open a page with it in headless Chrome. */
export async function openChromePage(entry: string): Promise<ChromePage> {
  const { code, sourceStack } = await bundleScript(entry);
  const server = await servePage(code);
  const browser = await launchChrome();
  const page = await newPage(browser);
  await page.goto(server.url);
  return {
    page,
    sourceStack,
    async close() {
      await browser.close();
      server.close();
    },
  };
}
