import type { Browser } from 'puppeteer';
import { newPage, servePage } from '../../tools/browser/servePage.js';
import type { Host } from './host.js';
import type { Message } from './message.js';

/** A lane in a page of a browser, which posts its messages. */
export function pageHost(launch: () => Promise<Browser>, script: string): Host {
  return {
    async start(options, receive) {
      const server = await servePage(script, {
        receive: (posted) => receive(JSON.parse(posted) as Message),
      });
      const browser = await launch();
      const page = await newPage(browser);
      const url = `${server.url}#${encodeURIComponent(JSON.stringify(options))}`;
      const ended = new Promise<string>((resolve) => {
        page.on('error', (error) => resolve(`the page crashed: ${error.message}`));
        browser.on('disconnected', () => resolve('the browser closed'));
        page.goto(url, { timeout: 0 }).catch((error: Error) => resolve(error.message));
      });
      return {
        ended,
        async stop() {
          await browser.close();
          server.close();
        },
      };
    },
  };
}
