import { describe, expect, test } from 'vitest';
import { HashIndex, hashTokens } from '../../src/paging/prefix/hashIndex.js';
import type { PageEvent } from '../../src/paging/prefix/pageEvents.js';
import { PrefixCache } from '../../src/paging/prefix/prefixCache.js';
import type { Prompt } from '../../src/paging/prefix/prefixTree.js';
import { Random } from '../../tools/random.js';

const NONE = -1;
const promptOf = (tokens: readonly number[], salt = 0): Prompt => ({ tokens: Int32Array.from(tokens), salt });

/** Publish the given pages of a prompt, one after the other. Returns their prefixes. */
function publish(cache: PrefixCache, prompt: Prompt, ...pages: number[]): number[] {
  let prefix = NONE;
  return pages.map((page, column) => {
    const known = cache.tree.find(prefix, prompt, column);
    prefix = known === NONE ? cache.add(page, prefix, prompt, column) : known;
    if (cache.page(prefix) === NONE) cache.fill(prefix, page);
    return prefix;
  });
}

/** The page of each column of a prompt, as far as its tokens are known. */
function found(cache: PrefixCache, prompt: Prompt, nColumns: number): number[] {
  const pages: number[] = [];
  for (let prefix = NONE; pages.length < nColumns; pages.push(cache.page(prefix))) {
    prefix = cache.tree.find(prefix, prompt, pages.length);
    if (prefix === NONE) break;
  }
  return pages;
}

describe('the prefix cache', () => {
  test('finds a page by all tokens before and its own', () => {
    const cache = new PrefixCache(4, 2);
    const prompt = promptOf([1, 2, 3, 4]);
    publish(cache, prompt, 0, 1);
    expect(found(cache, prompt, 2)).toEqual([0, 1]);
    expect(found(cache, promptOf([3, 4]), 1)).toEqual([]);
    expect(found(cache, promptOf([1, 2], 7), 1)).toEqual([]);
    expect(found(cache, promptOf([5, 6, 3, 4]), 2)).toEqual([]);
    expect(cache.has(2)).toBe(false);
  });

  test('compares tokens, as equal hashes are not enough', () => {
    const [one, other] = collision();
    expect(hashTokens(0, Int32Array.from(one), 0, 2)).toBe(hashTokens(0, Int32Array.from(other), 0, 2));
    const cache = new PrefixCache(4, 2);
    publish(cache, promptOf(one), 0);
    expect(found(cache, promptOf(other), 1)).toEqual([]);
    publish(cache, promptOf(other), 1);
    expect(found(cache, promptOf(one), 1)).toEqual([0]);
    expect(found(cache, promptOf(other), 1)).toEqual([1]);
  });

  test('compares salts, as equal hashes are not enough', () => {
    // A first page is hashed like the child of a page whose hash is the salt.
    const cache = new PrefixCache(4, 1);
    publish(cache, promptOf([1, 2]), 0, 1);
    const salt = hashTokens(0, Int32Array.of(1), 0, 1);
    expect(found(cache, promptOf([2], salt), 1)).toEqual([]);
  });

  test('finds a page by its tokens, whatever became of the pages before', () => {
    const cache = new PrefixCache(4, 1);
    publish(cache, promptOf([1, 2]), 0, 1);
    cache.forget(0);
    expect(found(cache, promptOf([1, 2]), 2)).toEqual([NONE, 1]);
    expect(cache.pageBefore(1)).toBe(NONE);
    publish(cache, promptOf([9]), 0);
    expect(found(cache, promptOf([9, 2]), 2)).toEqual([0]);
    expect(found(cache, promptOf([1, 2]), 2)).toEqual([NONE, 1]);
    publish(cache, promptOf([1]), 3);
    expect(found(cache, promptOf([1, 2]), 2)).toEqual([3, 1]);
    expect(cache.pageBefore(1)).toBe(3);
  });

  test('removes prefixes without pages and children, unless they are held', () => {
    const cache = new PrefixCache(4, 1);
    const [, prefix] = publish(cache, promptOf([1, 2]), 0, 1);
    cache.tree.hold(prefix!);
    cache.forget(0);
    cache.forget(1);
    expect(found(cache, promptOf([1, 2]), 2)).toEqual([NONE, NONE]);
    cache.tree.drop(prefix!);
    expect(found(cache, promptOf([1, 2]), 2)).toEqual([]);
    expect(cache.published()).toEqual([]);
  });

  test('knows more prefixes than it has pages', () => {
    const cache = new PrefixCache(2, 1);
    const tokens = Array.from({ length: 100 }, (_, i) => i);
    let prefix = NONE;
    for (const column of tokens) {
      const page = column % 2;
      cache.forget(page);
      const next = cache.add(page, prefix, promptOf(tokens), column);
      cache.tree.hold(next);
      cache.tree.drop(prefix);
      prefix = next;
    }
    expect(found(cache, promptOf(tokens), 100)).toEqual([...Array<number>(98).fill(NONE), 0, 1]);
    cache.forget(0);
    cache.forget(1);
    cache.tree.drop(prefix);
    expect(cache.published()).toEqual([]);
  });

  test('moves pages', () => {
    const cache = new PrefixCache(8, 1);
    const prompt = promptOf([1, 2, 3]);
    publish(cache, prompt, 6, 7, 1);
    cache.move([
      [5, 4],
      [6, 0],
      [7, 3],
    ]);
    expect(found(cache, prompt, 3)).toEqual([0, 3, 1]);
    expect([0, 1, 2, 3, 4, 5, 6, 7].filter((page) => cache.has(page))).toEqual([0, 1, 3]);
  });

  test('sends events for what is stored, removed and moved', () => {
    const events: PageEvent[] = [];
    const cache = new PrefixCache(4, 2, (event) => events.push(event));
    publish(cache, promptOf([1, 2], 5), 2);
    cache.move([[2, 0]]);
    cache.forget(0);
    cache.forget(0);
    expect(events).toEqual([
      { type: 'stored', page: 2, parent: NONE, salt: 5, tokens: Int32Array.of(1, 2) },
      { type: 'moved', page: 2, target: 0 },
      { type: 'removed', page: 0 },
    ]);
  });

  test('sends events for pages that are reused before later ones, and published again', () => {
    const events: PageEvent[] = [];
    const cache = new PrefixCache(4, 1, (event) => events.push(event));
    publish(cache, promptOf([1, 2]), 0, 1);
    publish(cache, promptOf([1, 3]), 0, 2);
    events.length = 0;
    const stored = (page: number, parent: number, token: number) => ({
      type: 'stored',
      salt: 0,
      page,
      parent,
      tokens: Int32Array.of(token),
    });
    cache.forget(0);
    expect(events.splice(0)).toEqual([
      stored(-2, NONE, 1),
      stored(1, -2, 2),
      stored(2, -2, 3),
      { type: 'removed', page: 0 },
    ]);
    publish(cache, promptOf([1]), 3);
    expect(events.splice(0)).toEqual([
      stored(3, NONE, 1),
      stored(1, 3, 2),
      stored(2, 3, 3),
      { type: 'removed', page: -2 },
    ]);
  });
});

test('an index finds every id after any order of additions and removals', () => {
  const random = new Random(1);
  let index = new HashIndex(16);
  const hashes = new Map<number, number>();
  for (let round = 0; round < 2000; round++) {
    const page = random.int(0, 16);
    if (hashes.delete(page)) index.remove(page);
    else {
      // So few hashes that they are in each other's way.
      hashes.set(page, random.int(0, 5));
      index.add(page, hashes.get(page)!);
    }
    if (round % 100 === 0) index = index.withCapacity(16 + (round % 3) * 16);
    for (const [present, hash] of hashes) {
      let place = index.start(hash);
      while (index.at(place) !== present && index.at(place) !== NONE) place = index.next(place);
      expect(index.at(place)).toBe(present);
    }
  }
});

/** Two pages of two tokens with the same hash. */
function collision(): [number[], number[]] {
  const seen = new Map<number, number[]>();
  const random = new Random(2);
  for (;;) {
    const tokens = [random.int(0, 50_000), random.int(0, 50_000)];
    const hash = hashTokens(0, Int32Array.from(tokens), 0, 2);
    const other = seen.get(hash);
    if (other && other.join() !== tokens.join()) return [other, tokens];
    seen.set(hash, tokens);
  }
}
