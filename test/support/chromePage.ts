import { createServer, type Server } from 'node:http';
import { SourceMap, type SourceMapPayload } from 'node:module';
import type { AddressInfo } from 'node:net';
import { resolve } from 'node:path';
import type { Page } from 'puppeteer';
import { build, type Rolldown } from 'vite';
import { plugins } from '../../vite.config.js';
import { launchChrome } from './launchChrome.js';

export interface ChromePage {
  readonly page: Page;
  /** A stack trace of the page with the files and lines of the sources. */
  sourceStack(stack: string): string;
  close(): Promise<void>;
}

/** Bundle a TypeScript entry into one script and open a page with it in headless Chrome. */
export async function openChromePage(entry: string): Promise<ChromePage> {
  const { code, map } = await bundle(entry);
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
    sourceStack: (stack) => mapStack(stack, map),
    async close() {
      await browser.close();
      server.close();
    },
  };
}

async function bundle(entry: string): Promise<{ code: string; map: SourceMap }> {
  const result = await build({
    configFile: false,
    logLevel: 'warn',
    plugins,
    build: {
      write: false,
      minify: false,
      sourcemap: true,
      target: 'esnext',
      rolldownOptions: {
        input: entry,
        output: { codeSplitting: false, dir: '.', entryFileNames: 'page.js' },
      },
    },
  });
  const [{ code, map }] = (result as Rolldown.RolldownOutput).output;
  return { code, map: new SourceMap(map as unknown as SourceMapPayload) };
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

function mapStack(stack: string, map: SourceMap): string {
  return stack.replace(/http:\S+\/page\.js:(\d+):(\d+)/g, (frame, line, column) => {
    const origin = map.findOrigin(Number(line), Number(column));
    if (!('fileName' in origin)) return frame;
    return `${resolve(origin.fileName)}:${origin.lineNumber}:${origin.columnNumber}`;
  });
}
