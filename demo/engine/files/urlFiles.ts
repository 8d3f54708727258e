import { EngineError, formatBytes, refuse } from '../engineError.js';
import type { ModelFiles } from './modelFiles.js';

export interface UrlFilesOptions {
  /** The place in messages. Default: the address. */
  readonly name?: string | undefined;
  /** Headers, credentials and the signal of every request. */
  readonly request?: RequestInit | undefined;
  /** Returns the sentence for an answer that has a meaning of its own at this server. */
  readonly explain?: ((response: Response, file: string) => string | undefined) | undefined;
  /** Wait before a request is repeated, which doubles each time. Default 500. */
  readonly retryMs?: number | undefined;
}

/** The server could not be reached, or failed, several times in a row. */
export class UnreachableError extends EngineError {}

/** A request is made so often before it fails. */
const MAX_TRIES = 4;

/** A server that knows no ranges gives files up to this size, which are kept in memory. */
const MAX_WHOLE_BYTES = 64 * 2 ** 20;

/** Bytes `start` up to, but not including, `end`. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/** The files below an address, read by Range requests. */
export class UrlFiles implements ModelFiles {
  readonly name: string;
  readonly #base: string;
  readonly #options: UrlFilesOptions;
  /** Where requests for a file were redirected to: later ones go there at once. */
  readonly #redirects = new Map<string, string>();
  /** Files of a server that knows no ranges. */
  readonly #whole = new Map<string, Uint8Array<ArrayBuffer>>();
  /** Whether a file was found: then a web page in place of another one says that there is none. */
  #hasFiles = false;

  constructor(base: string, options: UrlFilesOptions = {}) {
    this.#base = base.replace(/\/*$/, '/');
    this.name = options.name ?? this.#base;
    this.#options = options;
  }

  text(file: string): Promise<string | undefined> {
    return this.#get(file, undefined, async (response) =>
      isPage(response) ? this.#noFile(response, file) : response.text(),
    );
  }

  async size(file: string): Promise<number | undefined> {
    const known = this.#whole.get(file);
    if (known) return known.length;
    const size = await this.#get(file, { start: 0, end: 1 }, async (response) => {
      if (response.status === 200) return (await this.#readWhole(response, file))?.length;
      await response.body?.cancel();
      const total = /\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1];
      return total === undefined ? NaN : Number(total);
    });
    // Another origin may hide the header.
    return Number.isNaN(size) ? this.#sizeByHead(file) : size;
  }

  async read(file: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const known = this.#whole.get(file);
    if (known) return this.#part(known, file, { start, end });
    if (start === end) return new Uint8Array();
    const bytes = await this.#get(file, { start, end }, async (response) => {
      if (response.status === 200) {
        const whole = await this.#readWhole(response, file);
        return whole && this.#part(whole, file, { start, end });
      }
      const range = response.headers.get('content-range');
      if (range !== null && !range.startsWith(`bytes ${start}-${end - 1}/`)) {
        await response.body?.cancel();
        refuse(`${this.name} gives other bytes of ${file} than those asked for: ${range}.`);
      }
      const part = new Uint8Array(await response.arrayBuffer());
      if (part.length === end - start) return part;
      throw new Error(`${part.length} bytes came instead of ${end - start}`);
    });
    return bytes ?? refuse(`${this.name} has no ${file}.`);
  }

  async #sizeByHead(file: string): Promise<number> {
    const size = await this.#get(
      file,
      undefined,
      async (response) => Number(response.headers.get('content-length') ?? NaN),
      'HEAD',
    );
    if (size === undefined || Number.isNaN(size)) refuse(`${this.name} does not say how large ${file} is.`);
    return size;
  }

  #part(whole: Uint8Array<ArrayBuffer>, file: string, { start, end }: Range): Uint8Array<ArrayBuffer> {
    if (end <= whole.length) return whole.slice(start, end);
    return refuse(`${file} of ${this.name} ends before byte ${end}: it is not whole.`);
  }

  /** Reads an answer that is the whole file though a part was asked for. */
  async #readWhole(response: Response, file: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (isPage(response)) return this.#noFile(response, file);
    let length = 0;
    const parts: Uint8Array[] = [];
    const reader = response.body!.getReader();
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      parts.push(next.value);
      length += next.value.length;
      if (length > MAX_WHOLE_BYTES) {
        await reader.cancel();
        refuse(
          `${this.name} does not give parts of a file (it ignores Range), which files above ${formatBytes(MAX_WHOLE_BYTES)} such as ${file} need. Use another server.`,
        );
      }
    }
    const whole = new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
    this.#whole.set(file, whole);
    return whole;
  }

  /** A page in place of a file: of a server that gives one for every unknown name, or of something before the server. */
  async #noFile(response: Response, file: string): Promise<undefined> {
    await response.body?.cancel();
    if (!this.#hasFiles) {
      refuse(
        `${this.name} answers with a web page in place of ${file}: it is not the address of a model's files, or something between here and there wants a login.`,
      );
    }
  }

  /** Makes a request, again if it fails on the way. Returns what `take` makes of the answer; undefined for no file. */
  async #get<T>(
    file: string,
    range: Range | undefined,
    take: (response: Response) => Promise<T | undefined>,
    method = 'GET',
  ): Promise<T | undefined> {
    const { request, retryMs = 500 } = this.#options;
    for (let nTries = 1; ; nTries++) {
      try {
        const response = await this.#fetch(file, range, method);
        if (response.status === 404 || response.status === 410) {
          await response.body?.cancel();
          return undefined;
        }
        const value = await take(response);
        if (value !== undefined) this.#hasFiles = true;
        return value;
      } catch (error) {
        if (error instanceof EngineError || request?.signal?.aborted) throw error;
        if (nTries === MAX_TRIES) {
          throw new UnreachableError(`${file} of ${this.name} cannot be loaded: ${reasonOf(error)}.`, {
            cause: error,
          });
        }
      }
      await new Promise((resolve) => setTimeout(resolve, retryMs * 2 ** (nTries - 1)));
    }
  }

  /** @throws EngineError for an answer that will not change; another error for one that may */
  async #fetch(file: string, range: Range | undefined, method: string): Promise<Response> {
    const { request } = this.#options;
    const address = this.#base + encodeURIComponent(file);
    const redirect = this.#redirects.get(file);
    const headers = new Headers(request?.headers);
    if (range) headers.set('range', `bytes=${range.start}-${range.end - 1}`);
    // A browser leaves it out, too, when it follows to another origin.
    if (redirect !== undefined && new URL(redirect).origin !== originOf(address))
      headers.delete('authorization');
    const response = await fetch(redirect ?? address, { ...request, headers, method });
    const { status } = response;
    // The address that it was redirected to holds for some time only, or for some of its bytes.
    const hasEnded = redirect !== undefined && status >= 400 && this.#redirects.delete(file);
    if (hasEnded && status < 500) {
      await response.body?.cancel();
      return this.#fetch(file, range, method);
    }
    if (status === 200 || status === 206 || status === 404 || status === 410) {
      if (response.redirected && response.ok) this.#redirects.set(file, response.url);
      return response;
    }
    // An empty file has no first byte.
    if (status === 416 && range?.start === 0) return response;
    await response.body?.cancel();
    const why = `it answers ${status}${response.statusText && ` (${response.statusText})`}`;
    if (status === 408 || status === 429 || status >= 500) throw new Error(why);
    // What another server says, which it was redirected to, has no meaning of this one's.
    const isOwn = new URL(response.url).origin === originOf(address);
    const meaning = isOwn ? this.#options.explain?.(response, file) : undefined;
    return refuse(meaning ?? `${file} of ${this.name} cannot be loaded: ${why}.`);
  }
}

/** Returns the files below an http address, such as a folder of a web server. */
export function urlFiles(base: string, options?: UrlFilesOptions): UrlFiles {
  return new UrlFiles(base, options);
}

function isPage(response: Response): boolean {
  return (response.headers.get('content-type') ?? '').startsWith('text/html');
}

/** The base may be relative to a page. */
function originOf(address: string): string {
  return new URL(address, globalThis.location?.href).origin;
}

/** Node's fetch says no more than that it failed; why is in the cause. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error && cause.message ? cause.message : message;
}
