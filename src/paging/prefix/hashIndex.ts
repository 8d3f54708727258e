const NOTHING = -1;

/**
 * A hash table of ids with linear probing: each id is at the place of its hash, or at the next one that was free.
 *
 * ```ts
 * for (let place = index.start(hash); index.at(place) >= 0; place = index.next(place)) …
 * ```
 */
export class HashIndex {
  readonly #hashes: Int32Array;
  readonly #places: Int32Array;
  readonly #mask: number;

  /** For ids below `capacity`. At most half of the places are in use, so that searches are short and end. */
  constructor(capacity: number) {
    const nPlaces = 2 ** (33 - Math.clz32(capacity));
    this.#hashes = new Int32Array(capacity);
    this.#places = new Int32Array(nPlaces).fill(NOTHING);
    this.#mask = nPlaces - 1;
  }

  /** The hash under which the id was added. */
  hash(id: number): number {
    return this.#hashes[id]!;
  }

  start(hash: number): number {
    return hash & this.#mask;
  }

  next(place: number): number {
    return (place + 1) & this.#mask;
  }

  /** The id at a place; negative if there is none. */
  at(place: number): number {
    return this.#places[place]!;
  }

  add(id: number, hash: number): void {
    this.#hashes[id] = hash;
    let place = this.start(hash);
    while (this.#places[place] !== NOTHING) place = this.next(place);
    this.#places[place] = id;
  }

  /** Removes an id, and closes the gap, so that a search still reaches what comes after it. */
  remove(id: number): void {
    let gap = this.start(this.#hashes[id]!);
    while (this.#places[gap] !== id) gap = this.next(gap);
    for (let place = this.next(gap); this.#places[place] !== NOTHING; place = this.next(place)) {
      const other = this.#places[place]!;
      const fromHome = (place - this.start(this.#hashes[other]!)) & this.#mask;
      const fromGap = (place - gap) & this.#mask;
      if (fromHome < fromGap) continue;
      this.#places[gap] = other;
      gap = place;
    }
    this.#places[gap] = NOTHING;
  }

  /** A copy with room for ids below `capacity`. */
  withCapacity(capacity: number): HashIndex {
    const larger = new HashIndex(capacity);
    for (const id of this.#places) if (id !== NOTHING) larger.add(id, this.#hashes[id]!);
    return larger;
  }
}

/** Returns the hash of `nTokens` tokens after those whose hash is `seed`: MurmurHash3 over 32-bit words. */
export function hashTokens(seed: number, tokens: Int32Array, start: number, nTokens: number): number {
  let hash = seed;
  for (let i = start; i < start + nTokens; i++) {
    const word = Math.imul(tokens[i]!, 0xcc9e2d51);
    hash ^= Math.imul((word << 15) | (word >>> 17), 0x1b873593);
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
