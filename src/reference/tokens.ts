import type { KeyRange, MaskOptions } from './masks.js';
import type { HostInts } from './hostTensor.js';

/** What may be said of each query token: arguments of all attention functions. */
export interface TokenOptions {
  /**
   * [totalQ], or [B · Sq]: query i, and key sk − sq + i, are at positions[i] for windows, chunks and slopes; other keys
   * j at j. Default: query i at sk − sq + i, and every key j at j.
   */
  readonly positions?: HostInts | undefined;
  /**
   * [totalQ · words], or [B · Sq · words]: bit t of its words says whether a query sees key sk − sq + t, for which there
   * is no causal order then.
   */
  readonly treeMask?: HostInts | undefined;
}

/** A sequence, as far as masks depend on it: see `Sequence` of attend.ts. */
interface TokenSequence {
  readonly firstQuery: number;
  readonly nQueries: number;
  readonly keyRows: ArrayLike<number>;
  readonly leftpad: number;
}

/** Which of the keys in some ranges a query sees, and where it and they stand. */
export interface TokenRow {
  readonly ranges: readonly KeyRange[];
  readonly p: number;
  readonly sees: (j: number) => boolean;
  readonly positionOf: (j: number) => number;
}

/**
 * With t = j − (sk − sq) for the keys of query tokens, t ≥ 0, query i sees key j ≥ leftpad if
 *
 *     pos_i − left ≤ pos_j ≤ pos_i + right      ⌊(pos_i − leftpad)/c⌋ = ⌊(pos_j − leftpad)/c⌋
 *     or instead of both j < leftpad + firstKeys
 *     t < 0, or bit t of its tree; without a tree, if causal, t ≤ i
 *
 * @param nTokens queries of all sequences
 */
export function tokenRow(
  { firstQuery, nQueries, keyRows, leftpad }: TokenSequence,
  i: number,
  options: MaskOptions & TokenOptions,
  nTokens: number,
): TokenRow {
  const { positions, treeMask, causal, windowSize = [-1, -1], attentionChunk = 0, firstKeys = 0 } = options;
  const [left, right] = windowSize;
  const firstOwn = keyRows.length - nQueries;
  const tokenPosition = (t: number): number => positions?.[firstQuery + t] ?? firstOwn + t;
  const positionOf = (j: number): number => (j < firstOwn ? j : tokenPosition(j - firstOwn));
  const p = tokenPosition(i);
  const words = treeMask ? treeMask.length / nTokens : 0;
  const bitOf = (t: number): boolean =>
    ((treeMask![(firstQuery + i) * words + Math.floor(t / 32)]! >>> (t % 32)) & 1) === 1;
  const chunkOf = (position: number): number => Math.floor((position - leftpad) / attentionChunk);

  const isInWindows = (j: number): boolean => {
    const position = positionOf(j);
    if (left >= 0 && position < p - left) return false;
    if (right >= 0 && position > p + right) return false;
    return attentionChunk === 0 || chunkOf(position) === chunkOf(p);
  };
  const sees = (j: number): boolean => {
    if (j >= leftpad + firstKeys && !isInWindows(j)) return false;
    const t = j - firstOwn;
    if (t < 0) return true;
    return treeMask ? bitOf(t) : !causal || t <= i;
  };
  return { p, ranges: [{ begin: leftpad, end: keyRows.length }], sees, positionOf };
}
