import { isCount, isHostArray, type Call } from '../check/call.js';
import { describe } from '../core/errors.js';
import type { HostPages } from './hostPages.js';

/** Pages to copy, in order: pairs of from and to, or these flat. */
export type PagePairs = readonly (readonly [from: number, to: number])[] | Int32Array | Uint32Array;

/** How many pages there are, and the name for it in errors. */
export interface PageBounds {
  readonly name: string;
  readonly nPages: number;
}

/** Checks that the pages exist. Returns (from, to) flat, without pairs that change nothing. */
export function checkPairs(
  call: Call,
  name: string,
  pairs: PagePairs,
  { name: poolName, nPages }: PageBounds,
): Uint32Array {
  const flat = flatPairs(call, name, pairs);
  const moving: number[] = [];
  for (let i = 0; i < flat.length; i += 2) {
    const [from, to] = [flat[i]!, flat[i + 1]!];
    if (!isCount(from) || !isCount(to))
      call.refuseValue(`${name}[${i / 2}]`, 'the numbers of two pages', [from, to]);
    if (from >= nPages || to >= nPages) {
      const there = nPages === 0 ? 'has no pages' : `has pages 0 to ${nPages - 1}`;
      call.refuse('length', `${name}[${i / 2}] copies page ${from} to page ${to}, but ${poolName} ${there}.`);
    }
    if (from !== to) moving.push(from, to);
  }
  return Uint32Array.from(moving);
}

/** Pairs, flat. The values are not checked. */
function flatPairs(call: Call, name: string, pairs: PagePairs): ArrayLike<number> {
  if (pairs instanceof Int32Array || pairs instanceof Uint32Array) {
    if (pairs.length % 2 === 0) return pairs;
    call.refuse(
      'argument',
      `${name} must be two numbers a copy, from and to, but there are ${pairs.length}.`,
    );
  }
  if (!Array.isArray(pairs))
    call.refuseValue(name, '[[from, to], ...], an Int32Array or a Uint32Array', pairs);
  const wrong = pairs.findIndex((pair: unknown) => !Array.isArray(pair) || pair.length !== 2);
  if (wrong >= 0) call.refuseValue(`${name}[${wrong}]`, '[from, to]', pairs[wrong]);
  return Array.from(pairs, ([from, to]: readonly unknown[]) => [from, to] as number[]).flat();
}

/** Checks numbers of pages of a cache. */
export function checkPageNumbers(call: Call, pages: ArrayLike<number>, nPages: number): void {
  if (!isHostArray(pages)) call.refuseValue('pages', 'an array of numbers', pages);
  for (let i = 0; i < pages.length; i++) checkPageNumber(call, `pages[${i}]`, pages[i], nPages);
}

function checkPageNumber(call: Call, name: string, page: unknown, nPages: number): void {
  if (!isCount(page) || page >= nPages)
    call.refuseValue(name, `a page from 0 to ${nPages - 1}`, page, 'length');
}

/** Checks the bytes that are to be written to n pages. */
export function checkContents(
  call: Call,
  contents: readonly Uint8Array[],
  { nPages, pageBytes }: { readonly nPages: number; readonly pageBytes: number },
): void {
  if (!Array.isArray(contents) || contents.length !== nPages) {
    const got = Array.isArray(contents) ? contents.length : describe(contents);
    call.refuse('argument', `contents must be an array of ${nPages}, one for each page, not ${got}.`);
  }
  Array.from(contents).forEach((content: unknown, i) => {
    if (content instanceof Uint8Array && content.length === pageBytes) return;
    const got = content instanceof Uint8Array ? `${content.length}` : describe(content);
    call.refuse('argument', `contents[${i}] must be a Uint8Array of ${pageBytes} bytes, not ${got}.`);
  });
}

/** The copies of a step. The `Step` of a `StepPlanner` can be passed whole. */
export interface PageMoves {
  /** `[page, host page]`: to host memory, before anything else */
  readonly swapsOut: PagePairs;
  /** [page, page] */
  readonly copies: PagePairs;
  /** `[host page, page]`: back from host memory, after everything else */
  readonly swapsIn: PagePairs;
}

/** Pages of the cache and pages of the host, pair by pair. */
export interface Swaps {
  readonly pages: readonly number[];
  readonly hostPages: readonly number[];
}

export interface CheckedMoves {
  readonly swapsOut: Swaps;
  /** (from, to) flat, without pairs that change nothing. */
  readonly copies: Uint32Array;
  readonly swapsIn: Swaps;
}

/** Checks the moves of a step: that their pages exist, on the host too. */
export function checkMoves(
  call: Call,
  moves: PageMoves,
  { nPages, hostPages }: { readonly nPages: number; readonly hostPages: HostPages },
): CheckedMoves {
  if (typeof moves !== 'object' || moves === null)
    call.refuse('argument', `pass a step, { swapsOut, copies, swapsIn }, not ${describe(moves)}.`);
  const flatOut = flatPairs(call, 'swapsOut', moves.swapsOut);
  const swapsOut = { pages: everySecond(flatOut, 0), hostPages: everySecond(flatOut, 1) };
  const copies = checkPairs(call, 'copies', moves.copies, { name: 'the cache', nPages });
  const flatIn = flatPairs(call, 'swapsIn', moves.swapsIn);
  const swapsIn = { pages: everySecond(flatIn, 1), hostPages: everySecond(flatIn, 0) };
  checkSwaps(call, 'swapsOut', swapsOut, nPages);
  checkSwaps(call, 'swapsIn', swapsIn, nPages);
  checkOnce(call, 'swapsOut', 'host page', swapsOut.hostPages);
  checkOnce(call, 'swapsIn', 'page', swapsIn.pages);
  const arriving = new Set(swapsOut.hostPages);
  swapsIn.hostPages.forEach((hostPage, i) => {
    const state = arriving.has(hostPage) ? 'arriving' : hostPages.state(hostPage);
    if (state === undefined)
      call.refuse(
        'argument',
        `swapsIn[${i}] brings back host page ${hostPage}, but nothing was swapped out to it.`,
      );
    if (typeof state === 'object') throw state.failed;
  });
  return { swapsOut, copies, swapsIn };
}

function checkSwaps(call: Call, name: string, { pages, hostPages }: Swaps, nPages: number): void {
  pages.forEach((page, i) => checkPageNumber(call, `the page of ${name}[${i}]`, page, nPages));
  hostPages.forEach((hostPage, i) => {
    if (!isCount(hostPage))
      call.refuseValue(`the host page of ${name}[${i}]`, 'a whole number ≥ 0', hostPage, 'length');
  });
}

/** Checks that nothing is written twice. */
function checkOnce(call: Call, name: string, kind: string, targets: readonly number[]): void {
  const seen = new Set<number>();
  for (const target of targets) {
    if (seen.has(target))
      call.refuse('argument', `${name} writes ${kind} ${target} twice. Give each its own.`);
    seen.add(target);
  }
}

function everySecond(flat: ArrayLike<number>, first: 0 | 1): number[] {
  return Array.from({ length: flat.length / 2 }, (_, i) => flat[2 * i + first]!);
}
