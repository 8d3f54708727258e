// The service worker of the built pages: keeps all of their files, so that they open without a network.
//
// Files in `assets/` have a name for each content, so a page never gets one of another build. Pages come from the network
// as long as it answers: a newer build is seen at once, and keeps its own files here in the place of the older ones.

/** Written before this program by the build: the SHA-256 of each file, as fetch takes it, by its address in the scope. */
declare const FILES: Readonly<Record<string, string>>;
/** Of all of them together. */
declare const VERSION: string;

interface WorkEvent extends Event {
  waitUntil(work: Promise<unknown>): void;
}

interface RequestEvent extends Event {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}

/** The part of ServiceWorkerGlobalScope that is used here: TypeScript has it only in the place of all types of pages. */
interface Scope {
  readonly registration: { readonly scope: string };
  readonly clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(type: 'install' | 'activate', listener: (event: WorkEvent) => void): void;
  addEventListener(type: 'fetch', listener: (event: RequestEvent) => void): void;
}

const worker = self as unknown as Scope;
const { scope } = worker.registration;
// An origin may have several such folders.
const PREFIX = `pageflash ${scope} `;
const OWN = PREFIX + VERSION;
/** A page that the network has not sent by then is the kept one. */
const PATIENCE_MS = 3000;

worker.addEventListener('install', (event) => event.waitUntil(keepAll().then(() => worker.skipWaiting())));
worker.addEventListener('activate', (event) =>
  event.waitUntil(forgetOlder().then(() => worker.clients.claim())),
);
worker.addEventListener('fetch', (event) => {
  const { request } = event;
  if (request.method !== 'GET' || !request.url.startsWith(scope)) return;
  event.respondWith(request.mode === 'navigate' ? findPage(request) : findFile(request));
});

/** Keeps all files of this build, or fails: then whatever was there stays, and the next visit tries again. */
async function keepAll(): Promise<void> {
  const cache = await caches.open(OWN);
  await Promise.all(
    Object.entries(FILES).map(async ([path, integrity]) => {
      const address = new URL(path, scope).href;
      const isNamedByContent = path.startsWith('./assets/');
      const kept = isNamedByContent ? await findKept(address) : undefined;
      const response =
        kept ?? (await fetch(address, { integrity, cache: isNamedByContent ? 'force-cache' : 'no-cache' }));
      if (!response.ok) throw new Error(`${address} cannot be kept: the server answers ${response.status}.`);
      await cache.put(address, response);
    }),
  );
}

/** The build before stays, too: a page of it may still be open, and load what it has not needed so far. */
async function forgetOlder(): Promise<void> {
  const older = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== OWN);
  await Promise.all(older.slice(0, -1).map((name) => caches.delete(name)));
}

async function findPage(request: Request): Promise<Response> {
  const cache = await caches.open(OWN);
  const kept = await cache.match(new URL(request.url).pathname.replace(/index\.html$/, ''), ANY);
  const sent = fetch(request);
  if (!kept) return sent;
  const inTime = await Promise.race([sent.catch(() => undefined), later(PATIENCE_MS)]);
  // A server in front of one that is down answers, too.
  return inTime && inTime.status < 500 ? inTime : kept;
}

async function findFile(request: Request): Promise<Response> {
  return (await findKept(request.url)) ?? fetch(request);
}

const ANY = { ignoreSearch: true, ignoreVary: true } as const;

/** A file of this build, or of the one before. */
async function findKept(address: string): Promise<Response | undefined> {
  for (const name of (await caches.keys()).toReversed()) {
    if (!name.startsWith(PREFIX)) continue;
    const response = await (await caches.open(name)).match(address, ANY);
    if (response) return response;
  }
  return undefined;
}

function later(ms: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(() => resolve(undefined), ms));
}
