import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

export interface ModelServer {
  readonly address: string;
  /** What was asked for, in order. */
  readonly asked: Asked[];
  /** Stops it, so that it can no longer be reached. */
  close(): Promise<void>;
}

/** Answers a request, or returns false to leave it to the files. */
export type Answer = (asked: Asked, response: ServerResponse) => boolean;

/** Starts a web server with some files by path, until the test ends. It knows ranges. */
export async function modelServer(
  files: Readonly<Record<string, string | Uint8Array>>,
  answer: Answer = () => false,
): Promise<ModelServer> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const one = askedOf(request);
    asked.push(one);
    if (answer(one, response)) return;
    const content = files[one.path];
    if (content === undefined) response.writeHead(404).end('not found');
    else give(content, one, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  onTestFinished(close);
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked, close };
}

function askedOf({ method = '', url = '', headers }: IncomingMessage): Asked {
  const { range, authorization } = headers;
  return { method, path: decodeURIComponent(url), range, authorization };
}

function give(content: string | Uint8Array, { method, range }: Asked, response: ServerResponse): void {
  const bytes = Buffer.from(content);
  const [, start, end] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? [];
  if (start === undefined) {
    response.writeHead(200, { 'content-length': bytes.length }).end(method === 'HEAD' ? undefined : bytes);
  } else if (Number(start) >= bytes.length) {
    response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
  } else {
    const part = bytes.subarray(Number(start), Number(end) + 1);
    const contentRange = `bytes ${start}-${Number(start) + part.length - 1}/${bytes.length}`;
    response.writeHead(206, { 'content-range': contentRange, 'content-length': part.length }).end(part);
  }
}
