import { createReadStream } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join } from 'node:path';
import { text } from 'node:stream/consumers';

/** A page that runs a script, in which the modules have their names. */
const htmlFor = (modules: readonly string[]): string => {
  const imports = Object.fromEntries(modules.map((name) => [name, `./modules/${name}.js`]));
  return `<!doctype html><link rel="icon" href="data:," />
    <script type="importmap">${JSON.stringify({ imports })}</script>
    <script type="module" src="page.js"></script>`;
};

export interface PageServer {
  readonly url: string;
  close(): void;
}

export interface PageOptions {
  /** Takes what the script posts. */
  readonly receive?: (posted: string) => void;
  /** Modules by the names that the script imports them by. */
  readonly modules?: Readonly<Record<string, string>>;
  /** Folders whose files are served under these names. */
  readonly folders?: Readonly<Record<string, string>>;
}

/** Serves a page that runs a script. */
export function servePage(
  script: string,
  { receive = () => {}, modules = {}, folders = {} }: PageOptions = {},
): Promise<PageServer> {
  const html = htmlFor(Object.keys(modules));
  const scripts = new Map(Object.entries(modules).map(([name, code]) => [`/modules/${name}.js`, code]));
  scripts.set('/page.js', script);
  const server = createServer(async (request, response) => {
    if (request.method === 'POST') {
      receive(await text(request));
      response.end();
      return;
    }
    const [, folder = '', name = ''] = /^\/(\w+)\/([\w.-]+)$/.exec(request.url ?? '') ?? [];
    const root = folders[folder];
    if (root !== undefined) {
      sendFile(join(root, name), response);
      return;
    }
    const code = scripts.get(request.url ?? '');
    response.setHeader('content-type', code === undefined ? 'text/html' : 'text/javascript');
    response.end(code ?? html);
  });
  return listen(server);
}

/** Serves the files of a folder, and its index.html as the page. */
export function serveFolder(root: string): Promise<PageServer> {
  return listen(
    createServer(({ url = '/' }, response) => {
      const { pathname } = new URL(url, 'http://localhost');
      // A browser asks for it on its own account.
      if (pathname === '/favicon.ico') response.writeHead(204).end();
      else sendFile(join(root, decodeURIComponent(pathname === '/' ? '/index.html' : pathname)), response);
    }),
  );
}

function listen(server: Server): Promise<PageServer> {
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

function sendFile(path: string, response: ServerResponse): void {
  const type = TYPES[extname(path)] ?? 'application/octet-stream';
  createReadStream(path)
    .on('open', () => response.setHeader('content-type', type))
    .on('error', () => response.writeHead(404).end())
    .pipe(response);
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
};
