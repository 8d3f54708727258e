import { NULL_PAGE } from './pageList.js';
import type { PagePool } from './pagePool.js';
import type { PrefixCache } from './prefixCache.js';

// A page without the pages before it is of no use, so among pages that lead to each other the deeper ones have to be
// evicted first. Whoever gives back all its pages from the end sees to that. With a sliding window, however, a sequence
// still holds pages when those before them are free.

/** The nearest page before this one that is free, or `NULL_PAGE`: what is given back has to go before it. */
export function freeAncestor(page: number, cache: PrefixCache, pool: PagePool): number {
  if (!cache.has(page)) return NULL_PAGE;
  let ancestor = cache.parent(page);
  while (ancestor !== NULL_PAGE && pool.count(ancestor) > 0) ancestor = cache.parent(ancestor);
  return ancestor;
}

/** Let the free pages before this one be evicted last, as it has just been used. */
export function touchAncestors(page: number, cache: PrefixCache, pool: PagePool): void {
  for (let next = freeAncestor(page, cache, pool); next !== NULL_PAGE; next = freeAncestor(next, cache, pool))
    pool.touch(next);
}

/** Whether a search gets from the first page of a prompt to this one. */
export function isReachable(page: number, cache: PrefixCache): boolean {
  if (!cache.has(page)) return false;
  let ancestor = page;
  while (ancestor !== NULL_PAGE && !cache.isOrphan(ancestor)) ancestor = cache.parent(ancestor);
  return ancestor === NULL_PAGE;
}
