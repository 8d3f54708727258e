/** How many of the last tokens are looked for. */
const MATCHED = 3;

/**
 * Speculation by prompt lookup: proposes the tokens that followed the last few tokens where these stood before.
 * O(tokens)
 */
export function draftByLookup(tokens: readonly number[], nDrafts: number): readonly number[] {
  for (let length = Math.min(MATCHED, tokens.length - 1); length > 0; length--) {
    const first = tokens.length - length;
    for (let start = first - 1; start >= 0; start--) {
      if (!isSame(tokens, start, { first, length })) continue;
      return tokens.slice(start + length, start + length + nDrafts);
    }
  }
  return [];
}

function isSame(
  tokens: readonly number[],
  start: number,
  { first, length }: { first: number; length: number },
): boolean {
  for (let i = 0; i < length; i++) if (tokens[start + i] !== tokens[first + i]) return false;
  return true;
}
