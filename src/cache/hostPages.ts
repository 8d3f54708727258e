import type { Call } from '../check/call.js';
import { PageflashError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import type { Transfer } from '../runtime/transfers.js';

/** A page that was swapped out, or is about to be. */
interface HostPage {
  /** As `PagedKvCache.readPages` returns them; not valid before they have arrived. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** `failed`: why they will not arrive. */
  state: 'arriving' | 'here' | { readonly failed: Error };
  /** Settles with the state, and never rejects. */
  readonly settled: Promise<void>;
}

/** The pages that a cache has in host memory, by their numbers in a `PageManager`. */
export class HostPages {
  readonly #pages = new Map<number, HostPage>();

  /** Bytes of all pages. A page keeps its memory until another one replaces it. */
  get bytes(): number {
    let bytes = 0;
    for (const page of this.#pages.values()) bytes += page.bytes.length;
    return bytes;
  }

  /** The state of a page; undefined if nothing was ever swapped out to it. */
  state(hostPage: number): HostPage['state'] | undefined {
    return this.#pages.get(hostPage)?.state;
  }

  /** Stores pages that arrive together, and replaces what was there. */
  put(
    hostPages: readonly number[],
    contents: readonly Uint8Array<ArrayBuffer>[],
    arrival: Promise<void>,
  ): void {
    const settle = (state: HostPage['state']): void => {
      for (const page of pages) page.state = state;
    };
    const settled = arrival.then(
      () => settle('here'),
      (failed: Error) => settle({ failed }),
    );
    const pages = contents.map((bytes): HostPage => ({ bytes, state: 'arriving', settled }));
    hostPages.forEach((hostPage, i) => this.#pages.set(hostPage, pages[i]!));
  }

  /**
   * The bytes of pages that have a state: at once if all have arrived, else as a promise.
   *
   * @throws PageflashError why one has not
   */
  take(hostPages: readonly number[]): readonly Uint8Array[] | Promise<readonly Uint8Array[]> {
    const pages = hostPages.map((hostPage) => this.#pages.get(hostPage)!);
    const bytes = pages.map((page) => page.bytes);
    return pages.every(({ state }) => state === 'here') ? bytes : whenHere(pages, bytes);
  }

  /** Likewise, of pages that may have no state. @throws PageflashError `argument` if one has none */
  takeWritten(
    call: Call,
    hostPages: readonly number[],
  ): readonly Uint8Array[] | Promise<readonly Uint8Array[]> {
    const missing = hostPages.find((hostPage) => !this.#pages.has(hostPage));
    if (missing !== undefined)
      call.refuse(
        'argument',
        `the sequence is in host memory, but nothing was swapped out to host page ${missing}. Make the copies of swapOut first.`,
      );
    const taken = this.take(hostPages);
    // If nothing awaits it, nobody needs to know.
    if (taken instanceof Promise) taken.catch(() => undefined);
    return taken;
  }

  /** Moves all pages of another one to this one. */
  takeOver(other: HostPages): void {
    for (const [hostPage, page] of other.#pages) this.#pages.set(hostPage, page);
    other.clear();
  }

  clear(): void {
    this.#pages.clear();
  }
}

async function whenHere<T>(pages: readonly HostPage[], then: T): Promise<T> {
  await Promise.all(pages.map(({ settled }) => settled));
  for (const { state } of pages) if (typeof state === 'object') throw state.failed;
  return then;
}

/** An arrival whose error names the host pages that are lost by it. */
export async function namingPages(
  call: Call,
  hostPages: readonly number[],
  arrival: Promise<void>,
): Promise<void> {
  try {
    await arrival;
  } catch (error) {
    if (!(error instanceof PageflashError) || hostPages.length === 0) throw error;
    const reason = error.message.replace(`${call.name}: `, '');
    throw new PageflashError(
      error.code,
      `${call.name}: what was swapped out to host pages ${hostPages.join(', ')} did not arrive and is lost: ${reason}`,
    );
  }
}

/** Host memory for n pages. */
export function roomFor(call: Call, nPages: number, pageBytes: number): Uint8Array<ArrayBuffer>[] {
  try {
    return Array.from({ length: nPages }, () => new Uint8Array(pageBytes));
  } catch {
    call.refuse(
      'limit',
      `the host has no memory for ${nPages * pageBytes} bytes. Read fewer pages at a time.`,
    );
  }
}

/** The transfers between pages and their bytes on the host. Pools are words [P, a page with its padding]. */
export function pageTransfers(
  pools: readonly Tensor[],
  pages: ArrayLike<number>,
  contents: readonly Uint8Array[],
): Transfer[] {
  const transfers: Transfer[] = [];
  contents.forEach((content, i) => {
    let at = 0;
    for (const { buffer, shape, offset } of pools) {
      const bytes = content.subarray(at, at + 4 * shape[1]!);
      transfers.push({ buffer, offset: 4 * offset! + pages[i]! * bytes.length, bytes });
      at += bytes.length;
    }
  });
  return transfers;
}
