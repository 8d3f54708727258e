import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Page } from 'puppeteer';
import { bundleScript } from './bundleScript.js';
import { launchChrome } from './launchChrome.js';

export interface ChromePage {
  readonly page: Page;
  /** A stack trace of the page with the files and lines of the sources. */
  sourceStack(stack: string): string;
  close(): Promise<void>;
}

/** Bundle a TypeScript entry into one script and open a page with it in headless Chrome. */
export async function openChromePage(entry: string): Promise<ChromePage> {
  const { code, sourceStack } = await bundleScript(entry);
  const server = await serve(code);
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const browser = await launchChrome();
  const page = await browser.newPage();
  page.on('console', (message) => {
    if (message.type() === 'error') console.error(message.text());
  });
  page.on('pageerror', (error) => console.error(error));
  await page.goto(url);
  return {
    page,
    sourceStack,
    async close() {
      await browser.close();
      server.close();
    },
  };
}

function serve(script: string): Promise<Server> {
  const server = createServer((request, response) => {
    const isScript = request.url === '/page.js';
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
    response.end(
      isScript
        ? script
        : '<!doctype html><link rel="icon" href="data:," /><script type="module" src="page.js"></script>',
    );
  });
  return new Promise((listening) => {
    server.listen(0, '127.0.0.1', () => listening(server));
  });
}
