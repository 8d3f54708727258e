import { PageflashError } from '../../../src/core/errors.js';
import type { PageManager } from '../../../src/paging/pageManager.js';
import type { PageSnapshot } from '../../../src/paging/pageSnapshot.js';
import { assertSame, assertThrows } from './fastAssert.js';
import type { ModelSequence, PagingModel } from './pagingModel.js';

/** What `reserve` of `n` tokens must find and take. */
export function expectedReserve(
  { options, router }: PagingModel,
  { id, tokens, salt, isPrivate, nComputed }: ModelSequence,
  { sequences, counts, published }: PageSnapshot,
  n: number,
) {
  const { pageSize } = options;
  const { pages } = sequences.find((sequence) => sequence.id === id)!;
  const isFresh = pages.length === 0;
  const found = isFresh && !isPrivate ? router.find(tokens, salt) : { nTokens: 0, pages: [] };
  const nFound = found.nTokens;
  const nNew = Math.min(n, tokens.length - nComputed - nFound);
  // Free pages for what is found and for new tokens, and for a copy of a page that must stay as it is.
  const nFree = found.pages.filter((page) => counts[page] === 0).length;
  const nBefore = Math.ceil((nComputed + nFound) / pageSize);
  const nPages = Math.ceil((nComputed + nFound + nNew) / pageSize) - nBefore;
  const last = pages.at(-1);
  const needsCopy =
    nNew > 0 &&
    nComputed % pageSize > 0 &&
    (counts[last!]! > 1 || published.some(({ page }) => page === last));
  return { isFresh, nFound, nNew, nMissing: nFree + nPages + (needsCopy ? 1 : 0) };
}

/** Calls something that may return `'full'`, and then must not change the manager. */
export function unchangedIfFull<T>(manager: PageManager, call: () => T | 'full'): T | 'full' {
  const before = stateOf(manager);
  const result = call();
  if (result === 'full') assertSame('state after a full pool', stateOf(manager), before);
  return result;
}

/** Calls something that must be refused as a wrong argument, and must not change the manager. */
export function refused(manager: PageManager, call: () => unknown): void {
  const before = stateOf(manager);
  assertSame('code', assertThrows(PageflashError, call).code, 'argument');
  assertSame('state after an error', stateOf(manager), before);
}

export function checkMalformedCalls(manager: PageManager, { id, tokens }: ModelSequence): void {
  refused(manager, () => manager.release(id + 1000));
  refused(manager, () => manager.reserve(id, -1));
  refused(manager, () => manager.truncate(id, tokens.length + 1));
  refused(manager, () => manager.append(id, [0.5]));
  refused(manager, () => manager.add([NaN]));
  refused(manager, () => manager.add([1], { isprivate: true } as never));
  refused(manager, () => manager.resize(0));
  refused(manager, () => manager.commit(id, 1000));
}

function stateOf(manager: PageManager): string {
  return JSON.stringify([manager.snapshot(), manager.usage()]);
}
