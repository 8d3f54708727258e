import type { Masks } from './attentionProblem.js';

/** The keys of a sequence: `firstKey` are left padding, and chunks of attention are counted from there. */
export interface KeyRange {
  readonly firstKey: number;
  readonly kLen: number;
}

/** One past the last of the first keys that a query sees, as `masks` say; they begin at `firstKey`. */
export function firstKeysEnd(
  position: number,
  { firstKey, kLen }: KeyRange,
  { firstKeys, causal }: Masks,
): number {
  const end = Math.min(firstKey + firstKeys, kLen);
  return causal ? Math.min(end, position + 1) : end;
}

/**
 * The keys that a query sees, first keys left aside: first to last, both inclusive; none if last < first. Twin of band.wgsl.
 */
export function visibleBand(
  position: number,
  { firstKey, kLen }: KeyRange,
  { left, right, attentionChunk }: Masks,
): readonly [first: number, last: number] {
  let first = firstKey;
  let last = kLen - 1;
  if (left >= 0) first = Math.max(first, position - left);
  if (right >= 0) last = Math.min(last, position + right);
  if (attentionChunk > 0) {
    const chunkStart = firstKey + Math.floor((position - firstKey) / attentionChunk) * attentionChunk;
    first = Math.max(first, chunkStart);
    last = Math.min(last, chunkStart + attentionChunk - 1);
  }
  return [first, last];
}
