/** Mixes `nTokens` tokens into the hash of what precedes them: MurmurHash3 over words of 32 bits. */
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
