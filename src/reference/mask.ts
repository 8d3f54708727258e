/** Which keys a query may see; the arguments of all attention functions. */
export interface MaskOptions {
  /** Key j ≤ p. Default false. */
  readonly causal?: boolean | undefined;
  /** [left, right]: p − left ≤ j ≤ p + right; −1 = unbounded. Default [−1, −1]. */
  readonly windowSize?: readonly [number, number] | undefined;
  /** c: ⌊(p − leftpad)/c⌋ = ⌊(j − leftpad)/c⌋; 0 = off. Default 0. */
  readonly attentionChunk?: number | undefined;
}

/** Keys begin ≤ j < end; none when end ≤ begin. */
export interface KeyRange {
  readonly begin: number;
  readonly end: number;
}

/**
 * The keys that the query at position p sees. Every mask of the contract allows an interval of keys, so all of
 * them together do too. `leftpad` keys at the start are hidden.
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
