const PAGE_SIZES = [64, 32, 16] as const;

/** A sequence may waste one token in so many. */
const WASTED_ONE_IN = 32;

/**
 * Tokens a page, for sequences of an expected length: the largest of 64, 32 and 16 that wastes no more than a 32nd of a
 * sequence, or else 16.
 *
 * A sequence wastes half a page on average. For that, larger pages save lookups in the block table and work of the page
 * manager; beyond 64 tokens little of either is left to save, while the waste goes on growing, and so does what sequences
 * of a common prefix cannot share, as only full pages are shared. The size of the table never decides: 4 bytes an entry,
 * where a page is many kilobytes in every layer. (The vLLM paper found 16 to 128 equally good for conversations of 500
 * tokens, and no more than 32 for prompts and answers of 80.)
 */
export function choosePageSize(tokensPerSequence: number): number {
  return PAGE_SIZES.find((pageSize) => pageSize / 2 <= tokensPerSequence / WASTED_ONE_IN) ?? 16;
}
