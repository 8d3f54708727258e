import { NULL_PAGE } from '../pool/pageList.js';
import type { PagePool } from '../pool/pagePool.js';
import type { PrefixCache } from './prefixCache.js';

// The end of a prompt is asked for less often than its beginning, so among pages that follow each other the deeper ones
// are evicted first. A sequence that gives back all its pages from the end sees to that. With a sliding window, however,
// it still holds pages when those before them are free.

/** The nearest page before this one that is free, or `NULL_PAGE`: what is given back has to go before it. */
export function freeAncestor(page: number, cache: PrefixCache, pool: PagePool): number {
  if (!cache.has(page)) return NULL_PAGE;
  let ancestor = cache.pageBefore(page);
  while (ancestor !== NULL_PAGE && pool.count(ancestor) > 0) ancestor = cache.pageBefore(ancestor);
  return ancestor;
}

/** Let the free pages before this one be evicted last, as it has just been used. */
export function touchAncestors(page: number, cache: PrefixCache, pool: PagePool): void {
  for (let next = freeAncestor(page, cache, pool); next !== NULL_PAGE; next = freeAncestor(next, cache, pool))
    pool.touch(next);
}
