import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { Browser, Page } from 'puppeteer';

const HTML = '<!doctype html><link rel="icon" href="data:," /><script type="module" src="page.js"></script>';

export interface PageServer {
  readonly url: string;
  close(): void;
}

/** Serve a page that runs a script, and hand over what the script posts. */
export function servePage(script: string, receive: (posted: string) => void = () => {}): Promise<PageServer> {
  const server = createServer(async (request, response) => {
    if (request.method === 'POST') {
      receive(await text(request));
      response.end();
      return;
    }
    const isScript = request.url === '/page.js';
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
    response.end(isScript ? script : HTML);
  });
  return new Promise((listening) => {
    server.listen(0, '127.0.0.1', () =>
      listening({
        url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
        close() {
          server.closeAllConnections();
          server.close();
        },
      }),
    );
  });
}

/** An empty page; what goes wrong in it is printed here. */
export async function newPage(browser: Browser): Promise<Page> {
  const page = await browser.newPage();
  page.on('console', (message) => {
    if (message.type() === 'error') console.error(message.text());
  });
  page.on('pageerror', (error) => console.error(error));
  return page;
}
