import { describe, expect, test } from 'vitest';
import { hashTokens } from '../src/paging/pageHash.js';
import { PageIndex } from '../src/paging/pageIndex.js';
import { PrefixCache, type PageEvent, type Prompt } from '../src/paging/prefixCache.js';
import { Random } from './support/random.js';

const NONE = -1;
const promptOf = (tokens: readonly number[], salt = 0): Prompt => ({ tokens: Int32Array.from(tokens), salt });

describe('the prefix cache', () => {
  test('finds a page by the page before and its own tokens', () => {
    const cache = new PrefixCache(4, 2);
    const prompt = promptOf([1, 2, 3, 4]);
    expect(cache.publish(0, NONE, prompt, 0)).toBe(0);
    expect(cache.publish(1, 0, prompt, 1)).toBe(1);
    expect(cache.find(NONE, prompt, 0)).toBe(0);
    expect(cache.find(0, prompt, 1)).toBe(1);
    expect(cache.find(NONE, prompt, 1)).toBe(NONE);
    expect(cache.find(NONE, promptOf([1, 2], 7), 0)).toBe(NONE);
    expect(cache.publish(2, NONE, prompt, 0)).toBe(0);
    expect(cache.has(2)).toBe(false);
  });

  test('compares tokens, as equal hashes are not enough', () => {
    const [one, other] = collision();
    expect(hashTokens(0, Int32Array.from(one), 0, 2)).toBe(hashTokens(0, Int32Array.from(other), 0, 2));
    const cache = new PrefixCache(4, 2);
    cache.publish(0, NONE, promptOf(one), 0);
    expect(cache.find(NONE, promptOf(other), 0)).toBe(NONE);
    cache.publish(1, NONE, promptOf(other), 0);
    expect(cache.find(NONE, promptOf(one), 0)).toBe(0);
    expect(cache.find(NONE, promptOf(other), 0)).toBe(1);
  });

  test('compares salts, as equal hashes are not enough', () => {
    // A first page is hashed like the child of a page whose hash is the salt.
    const cache = new PrefixCache(4, 1);
    cache.publish(0, NONE, promptOf([1, 2]), 0);
    const salt = hashTokens(0, Int32Array.of(1), 0, 1);
    cache.publish(1, 0, promptOf([1, 2]), 1);
    expect(cache.find(NONE, promptOf([2], salt), 0)).toBe(NONE);
  });

  test('knows a page that was reused from the page that it was', () => {
    const cache = new PrefixCache(4, 1);
    cache.publish(0, NONE, promptOf([1]), 0);
    cache.publish(1, 0, promptOf([1, 2]), 1);
    cache.forget(0);
    expect(cache.isOrphan(1)).toBe(true);
    cache.publish(0, NONE, promptOf([9]), 0);
    expect(cache.isOrphan(1)).toBe(true);
    expect(cache.find(0, promptOf([9, 2]), 1)).toBe(NONE);
    // Even with the same content it is another page, whose child is to be published again.
    cache.forget(0);
    cache.publish(0, NONE, promptOf([1]), 0);
    expect(cache.find(0, promptOf([1, 2]), 1)).toBe(NONE);
  });

  test('moves pages with all that leads to them, but not those whose parent was lost', () => {
    const cache = new PrefixCache(8, 1);
    cache.publish(6, NONE, promptOf([1]), 0);
    cache.publish(7, 6, promptOf([1, 2]), 1);
    cache.publish(1, 7, promptOf([1, 2, 3]), 2);
    cache.publish(5, NONE, promptOf([4]), 0);
    cache.publish(2, 5, promptOf([4, 5]), 1);
    cache.forget(5);
    cache.publish(5, NONE, promptOf([8]), 0);
    cache.move([
      [5, 4],
      [6, 0],
      [7, 3],
    ]);
    const prompt = promptOf([1, 2, 3]);
    expect(cache.find(NONE, prompt, 0)).toBe(0);
    expect(cache.find(0, prompt, 1)).toBe(3);
    expect(cache.find(3, prompt, 2)).toBe(1);
    expect(cache.isOrphan(2)).toBe(true);
    expect([0, 1, 2, 3, 4, 5, 6, 7].filter((page) => cache.has(page))).toEqual([0, 1, 2, 3, 4]);
  });

  test('tells what is stored, removed and moved', () => {
    const events: PageEvent[] = [];
    const cache = new PrefixCache(4, 2, (event) => events.push(event));
    cache.publish(2, NONE, promptOf([1, 2], 5), 0);
    cache.move([[2, 0]]);
    cache.forget(0);
    cache.forget(0);
    expect(events).toEqual([
      { type: 'stored', page: 2, parent: NONE, salt: 5, tokens: Int32Array.of(1, 2) },
      { type: 'moved', page: 2, target: 0 },
      { type: 'removed', page: 0 },
    ]);
  });
});

test('an index finds every page after any order of additions and removals', () => {
  const random = new Random(1);
  const index = new PageIndex(16);
  const hashes = new Map<number, number>();
  for (let round = 0; round < 2000; round++) {
    const page = random.int(0, 16);
    if (hashes.delete(page)) index.remove(page);
    else {
      // So few hashes that they are in each other's way.
      hashes.set(page, random.int(0, 5));
      index.add(page, hashes.get(page)!);
    }
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
