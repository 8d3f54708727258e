import { fail } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import type { Transfer } from '../runtime/transfers.js';

/** Host memory for so many pages. */
export function roomFor(caller: string, nPages: number, pageBytes: number): Uint8Array<ArrayBuffer>[] {
  try {
    return Array.from({ length: nPages }, () => new Uint8Array(pageBytes));
  } catch {
    fail(
      'limit',
      caller,
      `the host has no memory for ${nPages * pageBytes} bytes. Read fewer pages at a time.`,
    );
  }
}

/** Each page of each pool, which are words [P, a page with its padding], and where its bytes are in those of the page. */
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
