import { createReadStream, existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import type { Browser, Page } from 'puppeteer';
import { build, type Plugin } from 'vite';

/** The page as it is published: built into static files, and served below some path. */
export interface BuiltDemo {
  readonly url: string;
  /** What was asked of the server that it does not have. */
  readonly missing: readonly string[];
  /** What was asked of it in the place of the Hugging Face Hub, which has one model: `pageflash/tiny`. */
  readonly hubRequests: string[];
  /** Puts another build in its place, of which the page and the program say so. */
  buildNewer(): Promise<void>;
  /** Nothing is answered any more, until it starts again. */
  stop(): void;
  start(): Promise<void>;
  close(): Promise<void>;
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
};

export async function buildDemo(): Promise<BuiltDemo> {
  const folder = await mkdtemp(join(tmpdir(), 'pageflash-demo-'));
  const buildWith = async (plugins: readonly Plugin[]): Promise<void> => {
    await build({
      root: 'demo',
      configFile: 'demo/vite.config.ts',
      logLevel: 'warn',
      plugins: [...plugins],
      build: { outDir: folder, emptyOutDir: true, minify: false },
    });
  };
  await buildWith([]);
  const missing: string[] = [];
  const hubRequests: string[] = [];
  const server = createServer(({ url = '' }, response) => {
    const path = decodeURIComponent(url.split(/[?#]/)[0]!);
    if (path.startsWith(HUB)) {
      hubRequests.push(path);
      return answerAsHub(path, response);
    }
    const file = join(folder, path.replace(/^\/some\/path/, ''), path.endsWith('/') ? 'index.html' : '');
    if (!path.startsWith('/some/path/') || !existsSync(file)) {
      missing.push(path);
      response.writeHead(404).end();
      return;
    }
    response.setHeader('content-type', TYPES[extname(file)] ?? 'application/octet-stream');
    createReadStream(file).pipe(response);
  });
  const listen = (port: number): Promise<void> =>
    new Promise((listening) => server.listen(port, '127.0.0.1', listening));
  const stop = (): void => {
    server.close();
    server.closeAllConnections();
  };
  await listen(0);
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/some/path/`,
    missing,
    hubRequests,
    buildNewer: () => buildWith([newer]),
    stop,
    start: () => listen(port),
    async close() {
      stop();
      await rm(folder, { recursive: true });
    },
  };
}

/** Changes a page, and a file with a name for each content. */
const newer: Plugin = {
  name: 'newer',
  transformIndexHtml: (html) => html.replace('<html ', '<html data-page="newer" '),
  transform: (code, id) =>
    id.endsWith('page/main.tsx') ? `${code}\ndocument.documentElement.dataset.program = 'newer';` : undefined,
};

const HUB = '/hub/';
const COMMIT = '0123456789abcdef0123456789abcdef01234567';

function answerAsHub(path: string, response: ServerResponse): void {
  const [, file] = new RegExp(`^/hub/pageflash/tiny/resolve/${COMMIT}/([\\w.]+)$`).exec(path) ?? [];
  if (path === '/hub/api/models/pageflash/tiny/revision/main') {
    response.end(JSON.stringify({ sha: COMMIT }));
  } else if (file !== undefined && existsSync(join('demo/model', file))) {
    createReadStream(join('demo/model', file)).pipe(response);
  } else {
    response.writeHead(404).end();
  }
}

/** For a worker: the server of the page in the place of the Hugging Face Hub. */
export const USE_OWN_HUB = `
  const { fetch } = globalThis;
  globalThis.fetch = (address, options) =>
    fetch(String(address).replace('https://huggingface.co/', location.origin.replace('null', '') + '${HUB}'), options);
`;

export interface ChatOptions {
  readonly browser: Browser;
  readonly url: string;
  /** Runs in the worker before its own program. */
  readonly inWorker?: string;
  /** Runs in the page before its own program. */
  readonly inPage?: string;
}

/** The chat in a browser, as somebody who uses it sees it. */
export class ChatPage {
  readonly page: Page;
  /** Addresses that were asked for, and are not of the server. */
  readonly foreign: string[] = [];
  readonly errors: unknown[] = [];

  private constructor(page: Page) {
    this.page = page;
  }

  static async open({ browser, url, inWorker, inPage = '' }: ChatOptions): Promise<ChatPage> {
    const context = await browser.createBrowserContext();
    const page = await context.newPage();
    // A GPU that the CPU plays may have to wait for the CPU.
    page.setDefaultTimeout(120_000);
    await page.setViewport({ width: 1440, height: 900 });
    const chat = new ChatPage(page);
    page.on('pageerror', (error) => chat.errors.push(error));
    page.on('console', (message) => {
      // That a model lacks a file is told to the console, too.
      if (message.type() === 'error' && !message.location().url?.includes(HUB))
        chat.errors.push(message.text());
    });
    page.on('request', (request) => {
      const address = request.url();
      if (!address.startsWith(new URL(url).origin) && !/^(data|blob):/.test(address))
        chat.foreign.push(address);
    });
    if (inWorker !== undefined) await page.evaluateOnNewDocument(startWorkersWith, inWorker);
    await page.evaluateOnNewDocument(inPage);
    await page.goto(url);
    return chat;
  }

  /** Leaves one conversation, which is empty. */
  async beginAnew(): Promise<void> {
    for (let n = (await this.page.$$('.chip')).length; n > 0; n--)
      await this.page.$eval('[aria-label^="Delete Conversation"]', (button) =>
        (button as HTMLElement).click(),
      );
    await this.page.$$eval('.note .quiet', (buttons) =>
      buttons.forEach((button) => (button as HTMLElement).click()),
    );
    await this.page.waitForSelector('[aria-label="Conversation A"] .welcome');
  }

  /** Waits until the model is loaded. */
  async untilReady(name = 'Tiny model'): Promise<void> {
    await this.page.waitForFunction(
      (wanted) => document.querySelector('.model')?.textContent?.startsWith(wanted),
      { polling: 50 },
      name,
    );
  }

  /** Clicks the button of this name, in a conversation by its letter if one is given. */
  async press(name: string, letter?: string): Promise<void> {
    const within = letter === undefined ? '' : `[aria-label="Conversation ${letter}"] `;
    await this.page.locator(`${within}::-p-aria([name="${name}"][role="button"])`).click();
  }

  /** As `press`, but at once: an answer on its way ends while a click waits for the page to be at rest. */
  async pressAtOnce(name: string, letter?: string): Promise<void> {
    const within = letter === undefined ? '' : `[aria-label="Conversation ${letter}"] `;
    await this.page.$$eval(
      `${within}button`,
      (buttons, wanted) => {
        const found = buttons.find((one) =>
          [one.getAttribute('aria-label'), one.textContent].includes(wanted),
        );
        (found as HTMLElement).click();
      },
      name,
    );
  }

  async type(text: string, letter = 'A'): Promise<void> {
    await this.page.locator(`[aria-label="Question in Conversation ${letter}"]`).fill(text);
    await this.press(`Ask in Conversation ${letter}`);
  }

  /** The answers of a conversation, without those on their way. */
  answers(letter = 'A'): Promise<string[]> {
    return this.page.$$eval(`[aria-label="Conversation ${letter}"] .answer[aria-busy=false] .text`, (texts) =>
      texts.map(({ textContent }) => textContent ?? ''),
    );
  }

  /** Waits until a conversation has so many answers, all of them complete. Returns the last one. */
  async untilAnswered(letter = 'A', nAnswers = 1): Promise<string> {
    await this.page.waitForFunction(
      (name, n) => {
        const all = document.querySelectorAll(`[aria-label="${name}"] .answer`);
        return all.length === n && [...all].every((one) => one.getAttribute('aria-busy') === 'false');
      },
      { polling: 50 },
      `Conversation ${letter}`,
      nAnswers,
    );
    return (await this.answers(letter)).at(-1)!;
  }

  /** Waits until an answer on its way has some text. Returns it. */
  async untilAnswering(letter = 'A', nLetters = 10): Promise<string> {
    const text = await this.page.waitForFunction(
      (name, n) => {
        const found = document.querySelector(`[aria-label="${name}"] .answer[aria-busy=true] .text`);
        return (found?.textContent?.length ?? 0) >= n && found!.textContent;
      },
      { polling: 20 },
      `Conversation ${letter}`,
      nLetters,
    );
    return (await text.jsonValue()) as string;
  }

  /** Goes through the pages of the cache by arrow keys until one is told in such words. Returns them. */
  async findPage(words: string): Promise<string> {
    const { page } = this;
    const map = '.page-map';
    await page.focus(map);
    await page.keyboard.press('Escape');
    const nPages = Number(await page.$eval(map, (canvas) => canvas.getAttribute('aria-valuemax'))) + 1;
    for (let i = 0; i < nPages; i++) {
      await page.keyboard.press('ArrowRight');
      await page.waitForFunction(
        (n) => document.querySelector('.page-map')?.getAttribute('aria-valuetext')?.startsWith(`Page ${n}: `),
        { polling: 10 },
        i,
      );
      await new Promise((resolve) => setTimeout(resolve, 30));
      const text = await page.$eval(map, (canvas) => canvas.getAttribute('aria-valuetext') ?? '');
      if (text.includes(words)) return text;
    }
    throw new Error(`No page is told as ${words}.`);
  }

  text(selector: string): Promise<string> {
    return this.page.$eval(selector, (element) => (element as HTMLElement).innerText);
  }

  /** Runs in the worker. */
  inWorker(code: string): Promise<unknown> {
    return this.page.workers()[0]!.evaluate(code);
  }

  async close(): Promise<void> {
    await this.page.browserContext().close();
  }
}

/** Runs in the page before its scripts: workers run some code before their own. */
function startWorkersWith(code: string): void {
  const Own = Worker;
  const moduleOf = (text: string): string =>
    URL.createObjectURL(new Blob([text], { type: 'text/javascript' }));
  globalThis.Worker = class extends Own {
    constructor(url: string | URL, options?: WorkerOptions) {
      // Imports, since a worker that awaits something loses the messages that come meanwhile.
      const imports = [moduleOf(code), String(url)].map((module) => `import ${JSON.stringify(module)};`);
      super(moduleOf(imports.join('\n')), { ...options, type: 'module' });
    }
  };
}
