/** The keys that a query may see: arguments of all attention functions. */
export interface MaskOptions {
  /** A query at position p sees keys j ≤ p. Default false. */
  readonly causal?: boolean | undefined;
  /** `[left, right]`: p − left ≤ j ≤ p + right; −1 for no bound. Default [−1, −1]. */
  readonly windowSize?: readonly [number, number] | undefined;
  /** c: ⌊(p − leftpad)/c⌋ = ⌊(j − leftpad)/c⌋; 0 for no chunks. Default 0. */
  readonly attentionChunk?: number | undefined;
  /**
   * n: the first n keys after the left padding are seen whatever window and chunks say, as far as causal order lets. Default
   * 0.
   */
  readonly firstKeys?: number | undefined;
}

/** Keys begin ≤ j < end; none if end ≤ begin. */
export interface KeyRange {
  readonly begin: number;
  readonly end: number;
}

/** Does something for each key of the ranges. */
export function eachKey(ranges: readonly KeyRange[], run: (j: number) => void): void {
  for (const { begin, end } of ranges) for (let j = begin; j < end; j++) run(j);
}

/**
 * Returns the keys that the query at position p sees, as far as positions decide: those that window and chunks allow, and
 * before them the first keys.
 */
export function seenKeys(p: number, nKeys: number, leftpad: number, mask: MaskOptions): readonly KeyRange[] {
  const band = visibleKeys(p, nKeys, leftpad, mask);
  const { firstKeys = 0, causal = false } = mask;
  if (firstKeys === 0) return [band];
  const end = Math.min(leftpad + firstKeys, nKeys, causal ? p + 1 : Infinity);
  return [
    { begin: leftpad, end },
    { begin: Math.max(band.begin, end), end: band.end },
  ];
}

/**
 * Returns the keys that the query at position p sees, first keys left aside. Every mask allows one interval of keys, so all
 * of them together do too. `leftpad` keys at the start are hidden.
 */
export function visibleKeys(p: number, nKeys: number, leftpad: number, mask: MaskOptions): KeyRange {
  const [left, right] = mask.windowSize ?? [-1, -1];
  const chunk = mask.attentionChunk ?? 0;
  let begin = leftpad;
  let end = nKeys;
  if (left >= 0) begin = Math.max(begin, p - left);
  if (right >= 0) end = Math.min(end, p + right + 1);
  if (mask.causal) end = Math.min(end, p + 1);
  if (chunk > 0) {
    const chunkBegin = leftpad + Math.floor((p - leftpad) / chunk) * chunk;
    begin = Math.max(begin, chunkBegin);
    end = Math.min(end, chunkBegin + chunk);
  }
  return { begin, end };
}
