import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { Browser } from 'puppeteer';
import type { Host } from './host.js';
import type { Message } from './message.js';

const PAGE = '<!doctype html><link rel="icon" href="data:," /><script type="module" src="page.mjs"></script>';

/** A lane in a page of a browser, which posts its messages. */
export function pageHost(launch: () => Promise<Browser>, script: string): Host {
  return {
    async start(options, receive) {
      const server = await serve(script, receive);
      const { port } = server.address() as AddressInfo;
      const browser = await launch();
      const page = await browser.newPage();
      page.on('console', (message) => {
        if (message.type() === 'error') console.error(message.text());
      });
      page.on('pageerror', (error) => console.error(error));
      const url = `http://127.0.0.1:${port}/#${encodeURIComponent(JSON.stringify(options))}`;
      const ended = new Promise<string>((resolve) => {
        page.on('error', (error) => resolve(`the page crashed: ${error.message}`));
        browser.on('disconnected', () => resolve('the browser closed'));
        page.goto(url, { timeout: 0 }).catch((error: Error) => resolve(error.message));
      });
      return {
        ended,
        async stop() {
          await browser.close();
          server.closeAllConnections();
          server.close();
        },
      };
    },
  };
}

function serve(script: string, receive: (message: Message) => void): Promise<Server> {
  const server = createServer(async (request, response) => {
    if (request.method === 'POST') {
      receive(JSON.parse(await text(request)) as Message);
      response.end();
      return;
    }
    const isScript = request.url === '/page.mjs';
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
    response.end(isScript ? script : PAGE);
  });
  return new Promise((listening) => {
    server.listen(0, '127.0.0.1', () => listening(server));
  });
}
