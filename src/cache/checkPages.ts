import { describe, fail } from '../core/errors.js';
import { checkPairs, flatPairs, type PagePairs } from './checkCopyPages.js';
import { isHostArray } from '../check/checkNumbers.js';
import { isCount } from '../check/checkTensor.js';
import type { HostPages } from './hostPages.js';

/** Checks numbers of pages of a cache. */
export function checkPages(caller: string, pages: ArrayLike<number>, nPages: number): void {
  if (!isHostArray(pages))
    fail('argument', caller, `pages must be an array of numbers, not ${describe(pages)}.`);
  for (let i = 0; i < pages.length; i++) checkPage(caller, `pages[${i}]`, pages[i], nPages);
}

function checkPage(caller: string, name: string, page: unknown, nPages: number): void {
  if (isCount(page) && page < nPages) return;
  fail('length', caller, `${name} must be a page from 0 to ${nPages - 1}, not ${describe(page)}.`);
}

/** Checks what so many pages are to hold. */
export function checkContents(
  caller: string,
  contents: readonly Uint8Array[],
  { nPages, pageBytes }: { readonly nPages: number; readonly pageBytes: number },
): void {
  if (!Array.isArray(contents) || contents.length !== nPages) {
    const got = Array.isArray(contents) ? contents.length : describe(contents);
    fail('argument', caller, `contents must be an array of ${nPages}, one for each page, not ${got}.`);
  }
  Array.from(contents).forEach((content: unknown, i) => {
    if (content instanceof Uint8Array && content.length === pageBytes) return;
    const got = content instanceof Uint8Array ? `${content.length}` : describe(content);
    fail('argument', caller, `contents[${i}] must be a Uint8Array of ${pageBytes} bytes, not ${got}.`);
  });
}

/** The copies of a step of a `StepPlanner`, which can be passed as it is. */
export interface PageMoves {
  /** [page, host page]: to host memory, before anything else */
  readonly swapsOut: PagePairs;
  /** [page, page] */
  readonly copies: PagePairs;
  /** [host page, page]: back from host memory, after everything else */
  readonly swapsIn: PagePairs;
}

/** Pages here and there, pair by pair. */
export interface Swaps {
  readonly pages: readonly number[];
  readonly hostPages: readonly number[];
}

export interface CheckedMoves {
  readonly swapsOut: Swaps;
  /** From and to, end to end, without those that change nothing. */
  readonly copies: Uint32Array;
  readonly swapsIn: Swaps;
}

/** Checks moves of pages that are there, on the host too. */
export function checkMoves(
  caller: string,
  moves: PageMoves,
  { nPages, hostPages }: { readonly nPages: number; readonly hostPages: HostPages },
): CheckedMoves {
  if (typeof moves !== 'object' || moves === null)
    fail('argument', caller, `pass a step, { swapsOut, copies, swapsIn }, not ${describe(moves)}.`);
  const flatOut = flatPairs(caller, 'swapsOut', moves.swapsOut);
  const swapsOut = { pages: everySecond(flatOut, 0), hostPages: everySecond(flatOut, 1) };
  const copies = checkPairs(caller, 'copies', moves.copies, new Map([['the cache', { shape: [nPages] }]]));
  const flatIn = flatPairs(caller, 'swapsIn', moves.swapsIn);
  const swapsIn = { pages: everySecond(flatIn, 1), hostPages: everySecond(flatIn, 0) };
  checkSwaps(caller, 'swapsOut', swapsOut, nPages);
  checkSwaps(caller, 'swapsIn', swapsIn, nPages);
  checkOnce(caller, 'swapsOut', 'host page', swapsOut.hostPages);
  checkOnce(caller, 'swapsIn', 'page', swapsIn.pages);
  const arriving = new Set(swapsOut.hostPages);
  swapsIn.hostPages.forEach((hostPage, i) => {
    const state = arriving.has(hostPage) ? 'arriving' : hostPages.state(hostPage);
    if (state === undefined)
      fail(
        'argument',
        caller,
        `swapsIn[${i}] brings back host page ${hostPage}, but nothing was swapped out to it.`,
      );
    if (typeof state === 'object') throw state.failed;
  });
  return { swapsOut, copies, swapsIn };
}

function checkSwaps(caller: string, name: string, { pages, hostPages }: Swaps, nPages: number): void {
  pages.forEach((page, i) => checkPage(caller, `the page of ${name}[${i}]`, page, nPages));
  hostPages.forEach((hostPage, i) => {
    if (isCount(hostPage)) return;
    fail(
      'length',
      caller,
      `the host page of ${name}[${i}] must be a whole number ≥ 0, not ${describe(hostPage)}.`,
    );
  });
}

/** Checks that nothing is written twice, of which only one would be left. */
function checkOnce(caller: string, name: string, kind: string, targets: readonly number[]): void {
  const seen = new Set<number>();
  for (const target of targets) {
    if (seen.has(target))
      fail('argument', caller, `${name} writes ${kind} ${target} twice. Give each its own.`);
    seen.add(target);
  }
}

function everySecond(flat: ArrayLike<number>, first: 0 | 1): number[] {
  return Array.from({ length: flat.length / 2 }, (_, i) => flat[2 * i + first]!);
}
